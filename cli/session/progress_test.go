package session

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

type plain struct{ Terminal }

func (plain) StderrIsTerminal() bool { return false }

// The time of a step is that from its beginning to its end, whatever parts of
// it were shown in between.
func TestStepTimes(t *testing.T) {
	var out bytes.Buffer
	at := time.Unix(1_000_000, 0)
	s := New(Config{Stdout: &out, Stderr: &out, Now: func() time.Time { return at }, Terminal: plain{}})
	p := s.Progress()
	after := func(d time.Duration, st Step) {
		at = at.Add(d)
		p.Report(st)
	}
	after(0, Step{Name: "prepare the image"})
	after(time.Second, Step{Name: "prepare the image: download"})
	after(20*time.Second, Step{Name: "prepare the image: unpack"})
	after(2*time.Second, Step{Name: "prepare the image", Done: true})
	after(time.Second, Step{Name: "await"})
	after(3*time.Second, Step{Name: "await", Done: true})
	after(0, Step{Name: "await"})
	after(time.Second, Step{Name: "await", Done: true})
	after(4*time.Second, Step{Name: "one that never began", Done: true})
	p.Begin("end the models")
	at = at.Add(5 * time.Second)
	p.Waiting("Waiting for 1 model(s)")
	after(time.Second, Step{Name: "end the models", Done: true})
	for _, want := range []string{"prepare the image (23", "await (3", "await (1", "one that never began (5", "end the models (6"} {
		if !strings.Contains(out.String(), "ok  "+want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
