package session

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/client"
)

// sleeper is a local cloud whose supervisor does not run.
type sleeper struct {
	Bootstrapper
	command string
}

func (s sleeper) Asleep(context.Context, string) string { return s.command }

// Who cannot reach a controller of this host is told how to start what runs it.
func TestAsleepSupervisorIsNamed(t *testing.T) {
	unreachable := &client.DialError{Problem: client.Unreachable}
	for _, c := range []struct {
		command string
		err     error
		want    bool
	}{
		{"/bin/agent host --start", unreachable, true},
		{"", unreachable, false},
		{"/bin/agent host --start", errors.New("cannot log in: wrong password"), false},
	} {
		s := New(Config{Bootstrap: sleeper{command: c.command}})
		err := s.unconnected(context.Background(), "prod", "u", c.err)
		var advised interface{ Advice() string }
		got := errors.As(err, &advised) && strings.Contains(advised.Advice(), "does not run; start it: /bin/agent host --start")
		if got != c.want || !strings.Contains(err.Error(), `cannot connect to controller "prod"`) {
			t.Errorf("%q, %v: got %v", c.command, c.err, err)
		}
	}
}
