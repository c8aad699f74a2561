package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/cri-tools/pkg/common"
)

// forward opens a port of this machine that leads to one of the pod, for as long as the test runs.
func (p *pod) forward(t *testing.T, transport string, port int) string {
	t.Helper()
	answer, err := p.cri.PortForward(t.Context(), &cri.PortForwardRequest{PodSandboxId: p.id, Port: []int32{int32(port)}})
	check(t, err)
	parsed, err := url.Parse(answer.Url)
	check(t, err)
	dialer, err := common.GetDialer(transport, parsed, &rest.TLSClientConfig{})
	check(t, err)
	stop, ready, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var said output
	forwarder, err := portforward.NewOnAddressesForStreaming(dialer, []string{"127.0.0.1"},
		[]string{fmt.Sprintf("0:%d", port)}, stop, ready, &said, &said)
	check(t, err)
	go func() { done <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("forwarding did not begin: %v; %s", err, &said)
	}
	t.Cleanup(func() {
		close(stop)
		// A connection to a port that nobody listens on makes the client give up by itself.
		if err := <-done; err != nil && !errors.Is(err, portforward.ErrLostConnectionToPod) {
			t.Errorf("forwarding ended with %v", err)
		}
		t.Logf("the client said: %s", &said)
	})
	ports, err := forwarder.GetPorts()
	check(t, err)
	return fmt.Sprintf("127.0.0.1:%d", ports[0].Local)
}

// echo starts a server in the pod that sends back what it gets.
func (p *pod) echo(t *testing.T) {
	t.Helper()
	id := p.run(t, echoImage, nil, nil)
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		_, _, err := p.cri.ExecSync(t.Context(), id, []string{"nc", "-w", "1", "127.0.0.1", fmt.Sprint(echoPort)}, time.Minute)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the server does not listen: %v", err)
		}
	}
}

func TestManyConnectionsOfOneForwarding(t *testing.T) {
	eachTransport(t, func(t *testing.T, transport string) {
		pod := newPod(t)
		pod.echo(t)
		address := pod.forward(t, transport, echoPort)
		watch := watchMemory(t, daemon(t))
		results := make(chan error)
		const many = 20
		for n := range many {
			go func() { results <- there(address, uint64(n), 4*mebibyte) }()
		}
		for range many {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		watch.end(t, 64*mebibyte)
	})
}

// there sends bytes to an echo, and expects the same back once they have ended.
func there(address string, seed uint64, size int) error {
	data := make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(seed)})
	if _, err := random.Read(data); err != nil {
		return err
	}
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := connection.Write(data)
		sent <- errors.Join(err, connection.(*net.TCPConn).CloseWrite())
	}()
	back, err := io.ReadAll(connection)
	if err := errors.Join(err, <-sent); err != nil {
		return fmt.Errorf("connection %d, after %d bytes: %w", seed, len(back), err)
	}
	if !bytes.Equal(data, back) {
		return fmt.Errorf("connection %d: %d bytes came back of %d, and not the same", seed, len(back), size)
	}
	return nil
}

func TestAPortThatNobodyListensOn(t *testing.T) {
	eachTransport(t, func(t *testing.T, transport string) {
		pod := newPod(t)
		pod.echo(t)
		dead := pod.forward(t, transport, 4711)
		connection, err := net.Dial("tcp", dead)
		check(t, err)
		defer connection.Close()
		check(t, connection.SetDeadline(time.Now().Add(patience)))
		if back, err := io.ReadAll(connection); len(back) > 0 || errors.Is(err, net.ErrClosed) {
			t.Errorf("%q, %v", back, err)
		}
		// Another forwarding is not touched by that.
		check(t, there(pod.forward(t, transport, echoPort), 1, 1000))
	})
}
