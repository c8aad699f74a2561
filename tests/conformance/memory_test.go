package conformance

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/remotecommand"
)

const mebibyte = 1 << 20

// streamSize is a gibibyte, or what the environment asks for.
func streamSize(t *testing.T) int64 {
	text, set := os.LookupEnv("STREAM_MIB")
	if !set {
		return 1024 * mebibyte
	}
	size, err := strconv.ParseInt(text, 10, 32)
	check(t, err)
	return size * mebibyte
}

func TestALongStreamArrivesWholeAndNothingGrows(t *testing.T) {
	eachTransport(t, func(t *testing.T, transport string) {
		pod := newPod(t)
		id := pod.idle(t)
		size := streamSize(t)
		// The first command brings along what stays.
		check(t, pod.exec(t.Context(), transport, id, []string{"cat"},
			remotecommand.StreamOptions{Stdin: strings.NewReader("first"), Stdout: io.Discard}))
		watch := watchMemory(t, daemon(t), monitor(t, id))
		sent, received := sha256.New(), sha256.New()
		input := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), size), sent)
		var count counter
		check(t, pod.exec(t.Context(), transport, id, []string{"cat"},
			remotecommand.StreamOptions{Stdin: input, Stdout: io.MultiWriter(received, &count)}))
		watch.end(t, 32*mebibyte)
		if int64(count) != size || string(sent.Sum(nil)) != string(received.Sum(nil)) {
			t.Errorf("%d bytes came back, of %d, and not the same", count, size)
		}
	})
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func TestASlowReaderHoldsUpNobodyElse(t *testing.T) {
	eachTransport(t, func(t *testing.T, transport string) {
		pod := newPod(t)
		id := pod.idle(t)
		const size = 64 * mebibyte
		watch := watchMemory(t, daemon(t), monitor(t, id))
		slow := &gate{open: make(chan struct{}), reached: make(chan struct{})}
		done := make(chan error, 1)
		go func() {
			done <- pod.exec(t.Context(), transport, id, []string{"head", "-c", strconv.Itoa(size), "/dev/zero"},
				remotecommand.StreamOptions{Stdout: slow})
		}()
		<-slow.reached
		// Others in the same container go on, over streams and without.
		for range 10 {
			var out output
			check(t, pod.exec(t.Context(), transport, id, []string{"echo", "hello"}, remotecommand.StreamOptions{Stdout: &out}))
			if out.String() != "hello\n" {
				t.Errorf("%q", &out)
			}
		}
		out, _, err := pod.cri.ExecSync(t.Context(), id, []string{"echo", "hello"}, 0)
		check(t, err)
		if string(out) != "hello\n" {
			t.Errorf("%q", out)
		}
		select {
		case err := <-done:
			t.Fatalf("the slow one did not wait: %v", err)
		default:
		}
		close(slow.open)
		check(t, <-done)
		watch.end(t, 32*mebibyte)
		if slow.count != size {
			t.Errorf("%d bytes of %d", slow.count, size)
		}
	})
}

// A gate takes one piece, and nothing more until it is opened.
type gate struct {
	open, reached chan struct{}
	count         int
}

func (g *gate) Write(p []byte) (int, error) {
	if g.count == 0 {
		close(g.reached)
		<-g.open
	}
	g.count += len(p)
	return len(p), nil
}

func daemon(t *testing.T) int {
	pid, err := strconv.Atoi(os.Getenv("DAEMON"))
	check(t, err)
	return pid
}

// monitor finds the process that looks after a container.
func monitor(t *testing.T, id string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	check(t, err)
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		words := strings.Split(string(line), "\x00")
		if filepath.Base(words[0]) == "corten-conmon" && strings.Contains(string(line), id) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			check(t, err)
			return pid
		}
	}
	t.Fatalf("no process looks after %s", id)
	return 0
}

// A memoryWatch follows what processes have in memory.
type memoryWatch struct {
	before, most []int64
	stop         context.CancelFunc
	stopped      chan error
}

func watchMemory(t *testing.T, pids ...int) *memoryWatch {
	ctx, stop := context.WithCancel(t.Context())
	w := &memoryWatch{stop: stop, stopped: make(chan error, 1)}
	for _, pid := range pids {
		now, err := resident(pid)
		check(t, err)
		w.before = append(w.before, now)
		w.most = append(w.most, now)
	}
	go func() {
		for ctx.Err() == nil {
			for i, pid := range pids {
				now, err := resident(pid)
				if err != nil {
					w.stopped <- err
					return
				}
				w.most[i] = max(w.most[i], now)
			}
			time.Sleep(100 * time.Millisecond)
		}
		w.stopped <- nil
	}()
	return w
}

// end checks that no process has grown by more than a bound.
func (w *memoryWatch) end(t *testing.T, bound int64) {
	t.Helper()
	w.stop()
	check(t, <-w.stopped)
	for i, before := range w.before {
		grown := w.most[i] - before
		t.Logf("process %d of those watched: %d KiB, and at most %d KiB more", i, before/1024, grown/1024)
		if grown > bound {
			t.Errorf("it has grown by %d bytes", grown)
		}
	}
}

// resident gives what a process has in memory, in bytes.
func resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if rest, found := strings.CutPrefix(line, "Rss:"); found {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("no Rss in smaps_rollup of %d", pid)
}
