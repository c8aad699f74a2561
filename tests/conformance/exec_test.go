package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestStreamsAndExitCodesAreToldApart(t *testing.T) {
	eachTransport(t, func(t *testing.T, transport string) {
		pod := newPod(t)
		id := pod.idle(t)
		var out, err output
		failure := pod.exec(t.Context(), transport, id, []string{"sh", "-c", "echo out; echo err >&2; exit 7"},
			remotecommand.StreamOptions{Stdout: &out, Stderr: &err})
		var code exec.CodeExitError
		if !errors.As(failure, &code) || code.Code != 7 {
			t.Errorf("the command ended with %v", failure)
		}
		if out.String() != "out\n" || err.String() != "err\n" {
			t.Errorf("output %q, errors %q", &out, &err)
		}
	})
}

func TestACommandThatIsNotThereIsAnError(t *testing.T) {
	eachTransport(t, func(t *testing.T, transport string) {
		pod := newPod(t)
		var out output
		failure := pod.exec(t.Context(), transport, pod.idle(t), []string{"/no/such/command"},
			remotecommand.StreamOptions{Stdout: &out, Stderr: &out})
		if failure == nil {
			t.Errorf("it ran, and said %q", &out)
		}
		t.Log(failure)
	})
}

func TestTheEndOfInputReachesTheCommand(t *testing.T) {
	eachTransport(t, func(t *testing.T, transport string) {
		pod := newPod(t)
		var out output
		// It answers after its input has ended, on a connection that is open the other way.
		check(t, pod.exec(t.Context(), transport, pod.idle(t), []string{"sh", "-c", "wc -c; echo and more"},
			remotecommand.StreamOptions{Stdin: strings.NewReader("twelve bytes"), Stdout: &out}))
		if out.String() != "12\nand more\n" {
			t.Errorf("%q", &out)
		}
	})
}

func TestATerminalHasTheSizeOfItsClients(t *testing.T) {
	eachTransport(t, func(t *testing.T, transport string) {
		pod := newPod(t)
		id := pod.idle(t)
		var out output
		sizes := make(sizes, 2)
		sizes <- remotecommand.TerminalSize{Width: 80, Height: 24}
		const script = `
			until [ "$(stty size)" = "24 80" ]; do sleep 0.1; done; echo small
			until [ "$(stty size)" = "50 132" ]; do sleep 0.1; done; echo large; tty; exit 3`
		done := make(chan error, 1)
		input, keep := io.Pipe()
		defer keep.Close()
		go func() {
			done <- pod.exec(t.Context(), transport, id, []string{"sh", "-c", script},
				remotecommand.StreamOptions{Stdin: input, Stdout: &out, Tty: true, TerminalSizeQueue: sizes})
		}()
		out.await(t, "small\r\n")
		sizes <- remotecommand.TerminalSize{Width: 132, Height: 50}
		var code exec.CodeExitError
		if err := <-done; !errors.As(err, &code) || code.Code != 3 {
			t.Errorf("it ended with %v", err)
		}
		if !strings.Contains(out.String(), "large\r\n/dev/pts/") {
			t.Errorf("%q", &out)
		}
		close(sizes)
	})
}

type sizes chan remotecommand.TerminalSize

func (s sizes) Next() *remotecommand.TerminalSize {
	size, open := <-s
	if !open {
		return nil
	}
	return &size
}

func TestManyCommandsAtATime(t *testing.T) {
	eachTransport(t, func(t *testing.T, transport string) {
		pod := newPod(t)
		id := pod.idle(t)
		results := make(chan error)
		const many = 20
		for n := range many {
			go func() {
				var out output
				text := fmt.Sprintf("command %d", n)
				err := pod.exec(t.Context(), transport, id, []string{"cat"},
					remotecommand.StreamOptions{Stdin: strings.NewReader(text), Stdout: &out})
				if err == nil && out.String() != text {
					err = fmt.Errorf("%q came back as %q", text, &out)
				}
				results <- err
			}()
		}
		for range many {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAnAddressWorksOnce(t *testing.T) {
	eachTransport(t, func(t *testing.T, transport string) {
		pod := newPod(t)
		answer, err := pod.cri.Exec(t.Context(), &cri.ExecRequest{
			ContainerId: pod.idle(t), Cmd: []string{"echo", "once"}, Stdout: true,
		})
		check(t, err)
		var first, second output
		check(t, stream(t.Context(), transport, answer.Url, remotecommand.StreamOptions{Stdout: &first}))
		again := stream(t.Context(), transport, answer.Url, remotecommand.StreamOptions{Stdout: &second})
		if first.String() != "once\n" || again == nil || second.String() != "" {
			t.Errorf("first %q, then %v with %q", &first, again, &second)
		}
	})
}

func TestTheEndOfInputDetachesFromATerminal(t *testing.T) {
	eachTransport(t, func(t *testing.T, transport string) {
		pod := newPod(t)
		id := pod.run(t, shellImage, []string{"sh", "-c", "while read line; do echo got $line; done"},
			func(c *cri.ContainerConfig) { c.Stdin, c.Tty = true, true })
		for _, word := range []string{"one", "two"} {
			input, keyboard := io.Pipe()
			var out output
			done := make(chan error, 1)
			go func() {
				done <- pod.attach(t.Context(), transport, id, remotecommand.StreamOptions{Stdin: input, Stdout: &out, Tty: true})
			}()
			if _, err := io.WriteString(keyboard, word+"\n"); err != nil {
				t.Fatal(err)
			}
			out.await(t, "got "+word+"\r\n")
			check(t, keyboard.Close())
			check(t, <-done)
		}
		pod.mustRun(t, id)
	})
}

func TestClientsComeAndGoWhileAContainerRuns(t *testing.T) {
	eachTransport(t, func(t *testing.T, transport string) {
		pod := newPod(t)
		id := pod.run(t, shellImage, []string{"sh", "-c", "while read line; do echo got $line; done"},
			func(c *cri.ContainerConfig) { c.Stdin = true })
		for _, word := range []string{"one", "two"} {
			ctx, leave := context.WithCancel(t.Context())
			input, keyboard := io.Pipe()
			var out output
			done := make(chan error, 1)
			go func() {
				done <- pod.attach(ctx, transport, id, remotecommand.StreamOptions{Stdin: input, Stdout: &out})
			}()
			if _, err := io.WriteString(keyboard, word+"\n"); err != nil {
				t.Fatal(err)
			}
			out.await(t, "got "+word+"\n")
			leave()
			if err := <-done; err == nil {
				t.Error("it ended by itself")
			}
			keyboard.Close()
		}
		pod.mustRun(t, id)
	})
}
