// Package machineagent serves a machine's own agent: what is to be on the
// machine and what the agent sees of it. Every method acts on the caller's own
// machine, and on units only if they are assigned to it.
package machineagent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/agentcred"
	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/task"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/domain/want"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/state/sealed"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// Service is what the facade needs.
type Service struct {
	Store *state.Store
	// Box seals the one-time tokens of units.
	Box *sealed.Box
}

var (
	reads   = authz.Self(authz.Machine).Reads()
	changes = authz.Self(authz.Machine)
)

// V1 is the facade our machine agents speak.
var V1 = facade.Facade[Service]{
	Name: "MachineAgent", Version: 1,
	Methods: []facade.Method[Service]{
		facade.None("Want", reads, wants),
		facade.Watch("WatchWant", reads, facade.NotifyWatcher, watch, watchResult),
		facade.Act("SetStatus", changes, setStatus),
		facade.Act("SetObserved", changes, setObserved),
		facade.One("UnitToken", changes, unitToken),
		facade.Act("RemoveUnit", changes, removeUnit),
		facade.Act("StartTask", changes, startTask),
		facade.Act("FinishTask", changes, finishTask),
		facade.Act("SetPassword", changes, setPassword),
	},
}

// Endpoints binds the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) { return facade.Bind(V1, s) }

func watchResult(id string, _ any) agentapi.WatchResult {
	return agentapi.WatchResult{NotifyWatcherID: id}
}

func wants(_ Service, c facade.Call) (agentapi.MachineWant, error) {
	v := c.View()
	w, err := want.Machine(v, c.Caller.Model, c.Caller.Machine)
	w.Revision = v.Rev()
	return w, err
}

func watch(s Service, c facade.Call, _ struct{}) (facade.Watcher, error) {
	return want.WatchMachine(s.Store, c.Caller.Model, c.Caller.Machine), nil
}

func scope(c facade.Call) state.Scope { return model.ScopeOf(c.Caller.Model) }

func setStatus(_ Service, c facade.Call, a agentapi.SetStatusArgs) error {
	if !slices.Contains([]string{"started", "stopped", "error"}, a.Status) {
		return fmt.Errorf("cannot set machine status: invalid status %q", a.Status)
	}
	if len(a.Message) > 8<<10 {
		return fmt.Errorf("cannot set machine status: message is longer than 8192 bytes")
	}
	return c.Update(func(tx *state.Tx) error {
		if _, err := machine.Get(tx, scope(c), c.Caller.Machine); err != nil {
			return err
		}
		return status.Set(tx, scope(c), status.OfMachineAgent(string(c.Caller.Machine)),
			status.Entry{Status: a.Status, Message: a.Message, Since: c.Now()})
	})
}

// Bounds on what a machine may say of itself.
const (
	maxAddresses = 256
	maxHostKeys  = 16
	maxText      = 4 << 10 // an RSA host key has some 700 bytes
)

func setObserved(_ Service, c facade.Call, a agentapi.MachineObserved) error {
	if len(a.Addresses) > maxAddresses || len(a.Interfaces) > maxAddresses || len(a.HostKeys) > maxHostKeys {
		return fmt.Errorf("cannot record machine: more than %d addresses or %d host keys", maxAddresses, maxHostKeys)
	}
	if err := checkObserved(a); err != nil {
		return err
	}
	return c.Update(func(tx *state.Tx) error {
		if _, err := machine.Get(tx, scope(c), c.Caller.Machine); err != nil {
			return err
		}
		return machine.Seen.Put(tx, scope(c), machine.Observed{Machine: c.Caller.Machine, MachineObserved: a})
	})
}

// checkObserved refuses what is no address, and text that nobody needs.
func checkObserved(a agentapi.MachineObserved) error {
	texts := append([]string{a.Hostname, a.Arch, a.State, a.Isolation}, a.HostKeys...)
	addresses := slices.Clone(a.Addresses)
	for _, i := range a.Interfaces {
		texts = append(texts, i.Name, i.MAC)
		addresses = append(addresses, i.Addresses...)
	}
	for _, x := range addresses {
		if _, err := netip.ParseAddr(x.Value); err != nil {
			return fmt.Errorf("cannot record machine: %.40q is no address", x.Value)
		}
		texts = append(texts, x.CIDR, x.Type, x.Scope)
	}
	if len(addresses) > maxAddresses {
		return fmt.Errorf("cannot record machine: more than %d addresses", maxAddresses)
	}
	for _, t := range texts {
		if len(t) > maxText || strings.ContainsAny(t, "\n\r\x00") {
			return fmt.Errorf("cannot record machine: a text is longer than %d bytes, or of several lines", maxText)
		}
	}
	return nil
}

// hosted returns a unit if it is assigned to the caller.
func hosted(tx *state.Tx, c facade.Call, name string) (unit.Row, error) {
	u, err := unit.Get(tx, scope(c), names.Unit(name))
	if err != nil || u.Machine != c.Caller.Machine {
		return unit.Row{}, authz.ErrDenied
	}
	return u, nil
}

// unitToken gives out a unit's one-time token, the same one again while the
// unit has not enrolled. An enrolled unit gets a new one only because its
// machine, which can read all that its units can, asks for it.
func unitToken(s Service, c facade.Call, a agentapi.UnitTokenArgs) (agentapi.UnitTokenResult, error) {
	fresh := password.NewAgent()
	hash, err := password.OfAgent(fresh)
	if err != nil {
		return agentapi.UnitTokenResult{}, err
	}
	var res agentapi.UnitTokenResult
	err = c.Update(func(tx *state.Tx) error {
		u, err := hosted(tx, c, a.Unit)
		if err != nil {
			return err
		}
		tag := u.Name.Tag().String()
		row, err := agentcred.Table.Get(tx, scope(c), tag)
		if err == nil && row.TokenVerifier != "" && row.KeyID == "" && c.Now().Before(row.TokenExpiry) {
			if t, err := controller.Tokens.Get(tx, s.Box, scope(c), tag); err == nil {
				res.Token = t.Token
				return nil
			}
		}
		if err := agentcred.Issue(tx, scope(c), tag, string(hash), "", c.Now()); err != nil {
			return err
		}
		res.Token = fresh.Reveal()
		return controller.Tokens.Put(tx, s.Box, scope(c), controller.Token{Tag: tag, Token: res.Token})
	})
	return res, err
}

func removeUnit(_ Service, c facade.Call, a agentapi.UnitArgs) error {
	return c.Update(func(tx *state.Tx) error {
		u, err := unit.Get(tx, scope(c), names.Unit(a.Unit))
		if err != nil {
			return nil //nolint:nilerr // gone already
		}
		if u.Machine != c.Caller.Machine {
			return authz.ErrDenied
		}
		m, err := model.Get(tx, c.Caller.Model)
		if err != nil {
			return err
		}
		return removal.UnitGone(tx, m, u.Name, c.Now())
	})
}

func startTask(_ Service, c facade.Call, a agentapi.TaskArgs) error {
	return c.Update(func(tx *state.Tx) error {
		return task.Start(tx, scope(c), string(c.Caller.Machine), names.Task(a.ID), c.Now())
	})
}

func finishTask(_ Service, c facade.Call, a agentapi.FinishTaskArgs) error {
	return c.Update(func(tx *state.Tx) error {
		end := task.Row{Status: a.Status, Message: a.Message, Output: a.Output}
		return task.Finish(tx, scope(c), string(c.Caller.Machine), names.Task(a.ID), end, c.Now())
	})
}

// minPassword is the least length of an agent's random password.
const minPassword = 24

func setPassword(_ Service, c facade.Call, a agentapi.SetPasswordArgs) error {
	if len(a.Password) < minPassword {
		return fmt.Errorf("cannot set password: it is shorter than %d characters", minPassword)
	}
	h, err := password.OfAgent(password.NewSecret(a.Password))
	if err != nil {
		return err
	}
	return c.Update(func(tx *state.Tx) error {
		return agentcred.SetPassword(tx, scope(c), c.Caller.Machine.Tag().String(), string(h))
	})
}
