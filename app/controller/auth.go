package controller

import (
	"context"
	"sync"
	"time"

	"github.com/scarab-ops/scarab/apiserver"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/agentcred"
	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/state"
)

// authenticator tells who people and agents are. It implements what the API
// server needs for logins, over rows of the state.
type authenticator struct {
	store    *state.Store
	now      func() time.Time
	checker  *password.Checker
	watchers *watchers
}

// AuthenticateUser checks a person's password. Unknown and disabled people
// cost as much time as known ones.
func (a *authenticator) AuthenticateUser(
	ctx context.Context, u names.User, pw password.Secret, m names.Model,
) (apiserver.Identity, error) {
	if err := a.store.Fresh(ctx); err != nil {
		return apiserver.Identity{}, err
	}
	row, err := user.Table.Get(a.store.View(), state.Controller, string(u.Local()))
	verifier := password.Hash(row.Verifier)
	if err != nil || row.Disabled {
		verifier = ""
	}
	ok, err := a.checker.Check(ctx, verifier, pw)
	if err != nil {
		return apiserver.Identity{}, err
	}
	if !ok || row.Disabled || row.Verifier == "" {
		return apiserver.Identity{}, apiserver.ErrCredentials
	}
	if verifier.Old() {
		a.rehash(ctx, row, pw)
	}
	id := apiserver.Identity{
		Caller:      authz.Caller{Kind: authz.User, User: row.Name, Model: m},
		DisplayName: row.DisplayName,
		Gone:        a.watchers.user(row),
	}
	on := user.OnController
	if m != "" {
		on = string(m)
	}
	if s, err := user.Sessions.Get(a.store.View(), state.Controller, string(row.Name)+"/"+on); err == nil {
		id.LastConnection = &s.Last
	}
	a.seen(ctx, row.Name, on)
	return id, nil
}

// seenEvery bounds how often a last connection is written.
const seenEvery = time.Minute

func (a *authenticator) seen(ctx context.Context, u names.User, on string) {
	now := a.now()
	s, err := user.Sessions.Get(a.store.View(), state.Controller, string(u)+"/"+on)
	if err == nil && now.Sub(s.Last) < seenEvery {
		return
	}
	_ = a.store.Update(ctx, func(tx *state.Tx) error { // a courtesy: the login counts without it
		return user.Sessions.Put(tx, state.Controller, user.Session{User: u, On: on, Last: now})
	})
}

// rehash stores the password under today's cost policy.
func (a *authenticator) rehash(ctx context.Context, old user.Row, pw password.Secret) {
	h, err := password.Of(pw)
	if err != nil {
		return
	}
	_ = a.store.Update(ctx, func(tx *state.Tx) error { // tried again at the next login
		row, err := user.Table.Get(tx, state.Controller, string(old.Name))
		if err != nil || row.Verifier != old.Verifier {
			return err
		}
		row.Verifier = string(h)
		return user.Table.Put(tx, state.Controller, row)
	})
}

// AuthenticateAgent checks an agent's password, or its one-time token.
func (a *authenticator) AuthenticateAgent(ctx context.Context, l apiserver.AgentLogin) (apiserver.Identity, error) {
	if err := a.store.Fresh(ctx); err != nil {
		return apiserver.Identity{}, err
	}
	v, scope := a.store.View(), model.ScopeOf(l.Model)
	row, err := agentcred.Table.Get(v, scope, l.Tag.String())
	verifier := password.Hash(row.Verifier)
	enrolling := l.Proof == apiserver.Uncertified
	if enrolling {
		verifier = password.Hash(row.TokenVerifier)
	}
	if err != nil || verifier == "" || !verifier.Matches(l.Password) {
		return apiserver.Identity{}, apiserver.ErrCredentials
	}
	if !enrolling && row.KeyID != l.KeyHash {
		return apiserver.Identity{}, apiserver.ErrCredentials
	}
	caller := authz.Caller{Model: l.Model}
	switch l.Tag.Kind {
	case names.KindMachine:
		caller.Kind, caller.Machine = authz.Machine, names.Machine(l.Tag.ID)
		if !machine.Table.Has(v, scope, l.Tag.ID) {
			return apiserver.Identity{}, apiserver.ErrCredentials
		}
		if row.Nonce != l.Nonce {
			return apiserver.Identity{}, apiserver.NotProvisioned(caller.Machine)
		}
	case names.KindUnit:
		caller.Kind, caller.Unit = authz.Unit, names.Unit(l.Tag.ID)
		if !unit.Table.Has(v, scope, l.Tag.ID) {
			return apiserver.Identity{}, apiserver.ErrCredentials
		}
	default:
		return apiserver.Identity{}, apiserver.ErrCredentials
	}
	if l.Proof != apiserver.Certified {
		caller.Kind = authz.Enrolling
	} else if row.TokenVerifier != "" {
		if err := a.confirm(ctx, scope, row.Tag); err != nil {
			return apiserver.Identity{}, err
		}
	}
	return apiserver.Identity{Caller: caller, Gone: a.watchers.agent(l.Model, row)}, nil
}

// confirm ends the one-time token of an agent that came back with its
// certificate.
func (a *authenticator) confirm(ctx context.Context, scope state.Scope, tag string) error {
	return a.store.Update(ctx, func(tx *state.Tx) error {
		if err := agentcred.Confirm(tx, scope, tag); err != nil {
			return err
		}
		if !controller.Tokens.Has(tx, scope, tag) {
			return nil
		}
		return controller.Tokens.Delete(tx, scope, tag)
	})
}

// CheckModel tells whether a model is there.
func (a *authenticator) CheckModel(ctx context.Context, m names.Model) error {
	if m == "" {
		return nil
	}
	if err := a.store.Fresh(ctx); err != nil {
		return err
	}
	if _, err := model.Get(a.store.View(), m); err != nil {
		return &apiserver.ModelError{Model: m}
	}
	return nil
}

// watchers closes a channel when an identity is removed, disabled or gets
// another password. One subscription serves all connections.
type watchers struct {
	store *state.Store
	sub   *state.Subscription

	mu   sync.Mutex
	live map[state.Key][]watched
}

// watched is one generation of one identity, shared by all its connections.
type watched struct {
	generation int
	gone       chan struct{}
	still      func(*state.View) bool
}

func newWatchers(st *state.Store) *watchers {
	return &watchers{store: st, sub: st.Subscribe(), live: map[state.Key][]watched{}}
}

// run closes channels until ctx ends.
func (w *watchers) run(ctx context.Context) error {
	defer w.sub.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.sub.C():
			w.sub.Take()
			w.look()
		}
	}
}

func (w *watchers) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.store.View()
	for k, list := range w.live {
		kept := list[:0]
		for _, x := range list {
			if x.still(v) {
				kept = append(kept, x)
			} else {
				close(x.gone)
			}
		}
		w.live[k] = kept
		if len(kept) == 0 {
			delete(w.live, k)
			w.sub.Remove(k)
		}
	}
}

func (w *watchers) add(k state.Key, generation int, still func(*state.View) bool) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.live[k] {
		if x.generation == generation {
			return x.gone
		}
	}
	if len(w.live[k]) == 0 {
		w.sub.Add(k)
	}
	x := watched{generation, make(chan struct{}), still}
	w.live[k] = append(w.live[k], x)
	if !still(w.store.View()) { // it changed while it was added
		close(x.gone)
		w.live[k] = w.live[k][:len(w.live[k])-1]
	}
	return x.gone
}

func (w *watchers) user(row user.Row) <-chan struct{} {
	id := string(row.Name)
	return w.add(user.Table.Key(state.Controller, id), row.Generation, func(v *state.View) bool {
		now, err := user.Table.Get(v, state.Controller, id)
		return err == nil && !now.Disabled && now.Generation == row.Generation
	})
}

func (w *watchers) agent(m names.Model, row agentcred.Row) <-chan struct{} {
	s := model.ScopeOf(m)
	return w.add(agentcred.Table.Key(s, row.Tag), row.Generation, func(v *state.View) bool {
		now, err := agentcred.Table.Get(v, s, row.Tag)
		return err == nil && now.Generation == row.Generation
	})
}
