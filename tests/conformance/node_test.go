package conformance

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	internalapi "k8s.io/cri-api/pkg/apis"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	criclient "k8s.io/cri-client/pkg"
	"sigs.k8s.io/cri-tools/pkg/common"
)

const (
	shellImage = "registry.k8s.io/e2e-test-images/busybox:1.29-2"
	echoImage  = "gcr.io/k8s-staging-cri-tools/echo:latest"
	// The port of echoImage.
	echoPort = 7
	// Longer than anything takes here; what takes longer hangs.
	patience = 3 * time.Minute
)

// The ways in which streams travel.
var transports = []string{common.TransportSpdy, common.TransportWebsocket}

// eachTransport runs a test over each of them.
func eachTransport(t *testing.T, test func(t *testing.T, transport string)) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) { test(t, transport) })
	}
}

// A pod under test, and the service it was made by.
type pod struct {
	cri    internalapi.RuntimeService
	images internalapi.ImageManagerService
	id     string
	config *cri.PodSandboxConfig
}

// newPod makes a pod that goes away with the test.
func newPod(t *testing.T) *pod {
	t.Helper()
	endpoint := "unix://" + os.Getenv("SOCKET")
	runtime, err := criclient.NewRemoteRuntimeService(t.Context(), endpoint, time.Minute, nil, false)
	check(t, err)
	images, err := criclient.NewRemoteImageService(t.Context(), endpoint, time.Minute, nil, false)
	check(t, err)
	name := filepath.Base(t.Name())
	p := &pod{cri: runtime, images: images, config: &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Uid: t.Name(), Namespace: "clients"},
		LogDirectory: t.TempDir(),
	}}
	p.id, err = runtime.RunPodSandbox(t.Context(), p.config, "")
	check(t, err)
	t.Cleanup(func() {
		// The test's own context has ended.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := runtime.StopPodSandbox(ctx, p.id); err != nil {
			t.Errorf("StopPodSandbox: %v", err)
		}
		if err := runtime.RemovePodSandbox(ctx, p.id); err != nil {
			t.Errorf("RemovePodSandbox: %v", err)
		}
	})
	return p
}

// run starts a container; change may be nil.
func (p *pod) run(t *testing.T, image string, command []string, change func(*cri.ContainerConfig)) string {
	t.Helper()
	spec := &cri.ImageSpec{Image: image}
	_, err := p.images.PullImage(t.Context(), spec, nil, p.config)
	check(t, err)
	config := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "main"}, Image: spec, Command: command, LogPath: "main.log",
	}
	if change != nil {
		change(config)
	}
	id, err := p.cri.CreateContainer(t.Context(), p.id, config, p.config)
	check(t, err)
	check(t, p.cri.StartContainer(t.Context(), id))
	return id
}

// idle starts a container to run commands in.
func (p *pod) idle(t *testing.T) string {
	t.Helper()
	return p.run(t, shellImage, []string{"sleep", "1000000"}, nil)
}

// mustRun checks that a container still runs.
func (p *pod) mustRun(t *testing.T, id string) {
	t.Helper()
	answer, err := p.cri.ContainerStatus(t.Context(), id, false)
	check(t, err)
	if answer.Status.State != cri.ContainerState_CONTAINER_RUNNING {
		t.Errorf("the container has ended with its clients: %v", answer.Status)
	}
}

// exec runs a command in a container, with the streams that options name.
func (p *pod) exec(ctx context.Context, transport, id string, command []string, options remotecommand.StreamOptions) error {
	answer, err := p.cri.Exec(ctx, &cri.ExecRequest{
		ContainerId: id, Cmd: command, Tty: options.Tty,
		Stdin: options.Stdin != nil, Stdout: options.Stdout != nil, Stderr: options.Stderr != nil,
	})
	if err != nil {
		return err
	}
	return stream(ctx, transport, answer.Url, options)
}

// attach connects to a container's own streams.
func (p *pod) attach(ctx context.Context, transport, id string, options remotecommand.StreamOptions) error {
	answer, err := p.cri.Attach(ctx, &cri.AttachRequest{
		ContainerId: id, Tty: options.Tty,
		Stdin: options.Stdin != nil, Stdout: options.Stdout != nil, Stderr: options.Stderr != nil,
	})
	if err != nil {
		return err
	}
	return stream(ctx, transport, answer.Url, options)
}

func stream(ctx context.Context, transport, at string, options remotecommand.StreamOptions) error {
	parsed, err := url.Parse(at)
	if err != nil {
		return err
	}
	executor, err := common.GetExecutor(transport, parsed, &rest.TLSClientConfig{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("nothing came of it in %v", patience))
	defer cancel()
	return executor.StreamWithContext(ctx, options)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
