package conformance

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// An output collects what is written to it, and can be waited for.
type output struct {
	mutex sync.Mutex
	text  strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.String()
}

// await waits until a part is there.
func (o *output) await(t *testing.T, part string) {
	t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(o.String(), part); {
		if time.Now().After(end) {
			t.Fatalf("%q did not come, only %q", part, o)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
