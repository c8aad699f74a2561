package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A layer is an archive that is being written. The first error ends it, and comes out when it is packed.
type layer struct {
	buffer  bytes.Buffer
	archive *tar.Writer
	small   []byte
	err     error
}

func newLayer() *layer {
	l := &layer{}
	l.archive = tar.NewWriter(&l.buffer)
	return l
}

func (l *layer) add(header tar.Header, content []byte) {
	if l.err != nil {
		return
	}
	header.Size = int64(len(content))
	if l.err = l.archive.WriteHeader(&header); l.err == nil {
		_, l.err = l.archive.Write(content)
	}
}

func (l *layer) directory(path string, mode int64) {
	l.add(tar.Header{Name: path + "/", Typeflag: tar.TypeDir, Mode: mode}, nil)
}

func (l *layer) file(path string, mode int64, content []byte) {
	l.add(tar.Header{Name: path, Typeflag: tar.TypeReg, Mode: mode}, content)
}

func (l *layer) text(path, content string) { l.file(path, 0o644, []byte(content)) }

// copy takes a file of this machine.
func (l *layer) copy(path string, mode int64, source string) {
	content, err := os.ReadFile(source)
	if err != nil && l.err == nil {
		l.err = err
	}
	l.file(path, mode, content)
}

// link gives a file of the layer another name.
func (l *layer) link(path, target string) {
	l.add(tar.Header{Name: path, Typeflag: tar.TypeLink, Linkname: target, Mode: 0o755}, nil)
}

// packed ends the layer, and gives it as it is unpacked and as it travels.
func (l *layer) packed() (plain, small []byte, err error) {
	if l.small == nil && l.err == nil {
		l.err = l.pack()
	}
	return l.buffer.Bytes(), l.small, l.err
}

func (l *layer) pack() error {
	if err := l.archive.Close(); err != nil {
		return err
	}
	var out bytes.Buffer
	writer := gzip.NewWriter(&out)
	if _, err := writer.Write(l.buffer.Bytes()); err != nil {
		return err
	}
	if err := writer.Close(); err != nil {
		return err
	}
	l.small = out.Bytes()
	return nil
}

// libraries gives the paths of what a program is loaded with.
func libraries(program string) ([]string, error) {
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", program, err)
	}
	var paths []string
	for _, word := range strings.Fields(string(out)) {
		if filepath.IsAbs(word) {
			paths = append(paths, word)
		}
	}
	return paths, nil
}
