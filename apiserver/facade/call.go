package facade

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"runtime/debug"
	"time"

	"golang.org/x/time/rate"

	"github.com/scarab-ops/scarab/audit"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/state"
)

// A Store is what calls need of the state store.
type Store interface {
	View() *state.View
	Update(ctx context.Context, f func(*state.Tx) error) error
}

// SessionConfig is what a session is made of.
type SessionConfig struct {
	Store Store
	// Grants binds the access relations to one revision.
	Grants func(state.Reader) authz.Grants
	// Now is the clock of the controller.
	Now func() time.Time
	// Mode tells in which unusual times the caller's model and the controller
	// are; nil means always normal.
	Mode func(*state.View, *authz.Caller) authz.When
	// Panicked is told of a panic in a handler; nil drops it.
	Panicked func(method string, reason any, stack []byte)

	Caller     *authz.Caller
	Connection string // id of the connection, for the audit record
	Source     string // network address of the peer
	// MaxWatchers bounds the connection's watchers; 0 means 1,000.
	MaxWatchers int
}

// A Session is one logged-in connection.
type Session struct {
	Caller   *authz.Caller
	Watchers *Registry
	cfg      SessionConfig
	// failures slows a caller down whose calls keep failing, as each failure
	// is recorded and a record is a write.
	failures *rate.Limiter
}

// NewSession opens a session. Close stops its watchers.
func NewSession(cfg SessionConfig) *Session {
	if cfg.MaxWatchers == 0 {
		cfg.MaxWatchers = 1000
	}
	return &Session{
		Caller: cfg.Caller, Watchers: newRegistry(cfg.MaxWatchers), cfg: cfg,
		failures: rate.NewLimiter(20, 200),
	}
}

// Close stops every watcher of the session.
func (s *Session) Close() { s.Watchers.Close() }

func (s *Session) grants(r state.Reader) authz.Grants { return s.cfg.Grants(r) }

func (s *Session) panicked(e Endpoint, p any) {
	if s.cfg.Panicked != nil {
		s.cfg.Panicked(key(e.Facade, e.Version, e.Method), p, debug.Stack())
	}
}

type timesError struct{ text, code string }

func (e *timesError) Error() string { return e.text }
func (e *timesError) Code() string  { return e.code }

// during refuses methods that do not answer in unusual times.
func (s *Session) during(r authz.Rule) error {
	if s.cfg.Mode == nil {
		return nil
	}
	mode := s.cfg.Mode(s.cfg.Store.View(), s.Caller)
	if mode&authz.Upgrading&^r.When != 0 {
		return &timesError{"upgrade in progress", "upgrade in progress"}
	}
	if mode&authz.Migrating&^r.When != 0 && s.Caller.Kind == authz.User {
		return &timesError{"model migration in progress", "model migration in progress"}
	}
	return nil
}

// A Call is one request and who makes it. It is the context of the request.
type Call struct {
	context.Context //nolint:containedctx // a call is the context of its request
	Caller          *authz.Caller
	// ID is the object id of the envelope, the id of a watcher.
	ID   string
	s    *Session
	op   *operation
	item *item
}

// operation is the part of a call that its items share.
type operation struct {
	endpoint Endpoint
	args     json.RawMessage
	recorded bool // a record of this call has been written
}

// item is the part of a call that belongs to one item.
type item struct {
	checks  []check
	targets []string
}

type check struct {
	need   authz.Level
	target authz.Target
}

// Now is the controller's time.
func (c Call) Now() time.Time { return c.s.cfg.Now() }

// View is the newest picture of the state.
func (c Call) View() *state.View { return c.s.cfg.Store.View() }

// Connection identifies the connection the call came by.
func (c Call) Connection() string { return c.s.cfg.Connection }

// Source is the network address the call came from.
func (c Call) Source() string { return c.s.cfg.Source }

// Check asks for access to the target that an item names. A handler of a
// per-item method that succeeds without having asked is a bug, and its result
// is thrown away. Update asks again.
func (c Call) Check(need authz.Level, t authz.Target) error {
	return c.CheckIn(c.View(), need, t)
}

// CheckIn is Check against a given picture, for targets that only a
// transaction can tell.
func (c Call) CheckIn(r state.Reader, need authz.Level, t authz.Target) error {
	if err := c.Caller.Check(c.s.grants(r), need, t); err != nil {
		c.concerns(string(t))
		return err
	}
	ck := check{need, t}
	for _, old := range c.item.checks {
		if old == ck {
			return nil
		}
	}
	c.item.checks = append(c.item.checks, ck)
	c.concerns(string(t))
	return nil
}

// Holds reports whether the caller has a level, without being a check that
// admits: for answers that show more to those who may see more.
func (c Call) Holds(need authz.Level, t authz.Target) bool {
	return c.Caller.Check(c.s.grants(c.View()), need, t) == nil
}

// Level returns the caller's own level on t; superusers hold Superuser on
// everything.
func (c Call) Level(t authz.Target) authz.Level {
	if c.Holds(authz.Superuser, authz.Controller) {
		return authz.Superuser
	}
	if c.Caller.Kind != authz.User {
		return authz.Nobody
	}
	g := c.s.grants(c.View())
	if !g.Present(c.Caller) {
		return authz.Nobody
	}
	return g.Level(c.Caller.User, t)
}

// Concerns adds what the call is about, such as a tag, to its audit record.
func (c Call) Concerns(targets ...string) {
	for _, t := range targets {
		c.concerns(t)
	}
}

func (c Call) concerns(t string) {
	for _, old := range c.item.targets {
		if old == t {
			return
		}
	}
	c.item.targets = append(c.item.targets, t)
}

// Update is the only way to change anything. Inside the transaction the rule
// and every check made for this item are asked again, a per-item method that
// has not asked is refused, and the audit record is written. f may run more
// than once and must touch nothing but its Tx.
func (c Call) Update(f func(*state.Tx) error) error {
	rule := c.op.endpoint.Rule
	if rule.Class == authz.ClassRead {
		return errReadOnly
	}
	rec := c.record(audit.OK, nil)
	err := c.s.cfg.Store.Update(c, func(tx *state.Tx) error {
		tx.By(writer(c.Caller))
		g := c.s.grants(tx)
		if err := rule.Admit(c.Caller, g); err != nil {
			return err
		}
		for _, ck := range c.item.checks {
			if err := c.Caller.Check(g, ck.need, ck.target); err != nil {
				return err
			}
		}
		if err := f(tx); err != nil {
			return err
		}
		if rule.On == authz.OnItem && len(c.item.checks) == 0 {
			return errUnchecked
		}
		rec.Targets = c.item.targets
		return audit.Put(tx, rec)
	})
	if err == nil {
		c.op.recorded = true
	}
	return err
}

// writer says whose quota a caller's changes come from.
func writer(c *authz.Caller) state.Writer {
	if c.Kind == authz.User {
		return state.Operators
	}
	return state.Agents
}

func (c Call) record(outcome string, err error) audit.Record {
	e := c.op.endpoint
	now := c.Now()
	r := audit.Record{
		ID: audit.ID(now, unique()), Time: now,
		Actor: c.Caller.Tag().String(), Kind: c.Caller.Kind.String(),
		Source: c.s.cfg.Source, Connection: c.s.cfg.Connection,
		Facade: e.Facade, Version: e.Version, Method: e.Method,
		Model: string(c.Caller.Model), Targets: c.item.targets, Outcome: outcome,
	}
	if e.Rule.Class == authz.ClassChange {
		r.Args = c.op.args
	}
	if err != nil {
		r.Error = code(err)
		if e.Rule.Class != authz.ClassSecret {
			r.Error = err.Error()
		}
	}
	return r
}

// failed records a failure, of the call or of one item.
func (c Call) failed(err error) {
	if c.op.endpoint.Rule.Class == authz.ClassRead {
		return
	}
	outcome := audit.Failed
	if errors.Is(err, authz.ErrDenied) {
		outcome = audit.Denied
	}
	_ = c.note(outcome, err) // the caller is told of err itself
}

// concluded records how a call ended that has not recorded itself: a failure,
// or a success without a change. A success that cannot be recorded is none.
func (c Call) concluded(err error) error {
	if c.op.endpoint.Rule.Class == authz.ClassRead {
		return err
	}
	if err != nil {
		c.failed(err)
		return err
	}
	if c.op.recorded {
		return nil
	}
	return c.note(audit.OK, nil)
}

// note writes a record in a transaction of its own. The caller may be gone by
// now, which does not undo that it called.
func (c Call) note(outcome string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context), 10*time.Second)
	defer cancel()
	if outcome != audit.OK {
		if err := c.s.failures.Wait(ctx); err != nil {
			return err
		}
	}
	rec := c.record(outcome, cause)
	err := c.s.cfg.Store.Update(ctx, func(tx *state.Tx) error { return audit.Put(tx, rec) })
	if err == nil {
		c.op.recorded = true
	}
	return err
}

func unique() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
