package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// A descriptor names a blob in a manifest.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int    `json:"size"`
}

func describe(mediaType string, blob []byte) descriptor {
	return descriptor{mediaType, digest(blob), len(blob)}
}

func digest(blob []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(blob)) }

// An image is made of layers and of settings like Cmd and User.
type image struct {
	names    []string
	layers   []*layer
	settings map[string]any
}

// A registry is known by its host and port, and spoken to in plain HTTP.
type registry string

// push stores an image under all of its names.
func (r registry) push(i image) error {
	diffs, layers, blobs := []string{}, []descriptor{}, [][]byte{}
	for _, layer := range i.layers {
		plain, small, err := layer.packed()
		if err != nil {
			return err
		}
		diffs = append(diffs, digest(plain))
		layers = append(layers, describe(layerType, small))
		blobs = append(blobs, small)
	}
	settings := map[string]any{"Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}}
	for name, value := range i.settings {
		settings[name] = value
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": settings,
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": describe(configType, config), "layers": layers,
	})
	if err != nil {
		return err
	}
	for _, name := range i.names {
		repository, tag := split(name)
		for _, blob := range append(blobs, config) {
			if err := r.pushBlob(repository, blob); err != nil {
				return err
			}
		}
		at := fmt.Sprintf("http://%s/v2/%s/manifests/%s", r, repository, tag)
		if _, err := send(http.MethodPut, at, manifestType, manifest, http.StatusCreated); err != nil {
			return err
		}
	}
	return nil
}

func (r registry) pushBlob(repository string, blob []byte) error {
	// One that is there already is spared.
	known := fmt.Sprintf("http://%s/v2/%s/blobs/%s", r, repository, digest(blob))
	if _, err := send(http.MethodHead, known, "", nil, http.StatusOK); err == nil {
		return nil
	}
	start := fmt.Sprintf("http://%s/v2/%s/blobs/uploads/", r, repository)
	headers, err := send(http.MethodPost, start, "", nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	place, err := url.Parse(headers.Get("Location"))
	if err != nil {
		return err
	}
	query := place.Query()
	query.Set("digest", digest(blob))
	place.RawQuery = query.Encode()
	_, err = send(http.MethodPut, place.String(), "application/octet-stream", blob, http.StatusCreated)
	return err
}

// send makes a request and insists on a status.
func send(method, at, mediaType string, body []byte, wanted int) (http.Header, error) {
	request, err := http.NewRequest(method, at, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if mediaType != "" {
		request.Header.Set("Content-Type", mediaType)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != wanted {
		return nil, fmt.Errorf("%s %s: %s, not %d: %s", method, at, answer.Status, wanted, text)
	}
	return answer.Header, nil
}
