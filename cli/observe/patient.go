package observe

import (
	"context"
	"time"

	"github.com/scarab-ops/scarab/cli/session"
)

// patience is how often a broken connection is made anew before that is given up.
const patience = 60

// patient asks again when a connection breaks under work that lasts, and says that it waits.
type patient struct {
	s     *session.Session
	delay time.Duration
	what  string
}

// run calls try until it ends with something else than a broken connection. try calls alive once it is connected; before
// the first time a controller that does not answer is an error at once.
func (p patient) run(ctx context.Context, again bool, try func(alive func()) error) error {
	connected, told := false, false
	for left := patience; ; left-- {
		err := try(func() { connected, told, left = true, false, patience })
		if err == nil || !again || left <= 0 || ctx.Err() != nil || !session.Broken(err, connected) {
			return err
		}
		if !told {
			p.s.Info("The connection to the controller broke; waiting for it, to go on with %s.", p.what)
			told = true
		}
		select {
		case <-time.After(max(p.delay, 100*time.Millisecond)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
