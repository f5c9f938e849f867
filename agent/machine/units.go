package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/scarab-ops/scarab/agent/unit"
	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

const (
	minRestart = 2 * time.Second
	maxRestart = 5 * time.Minute
)

// reconcile starts an agent for every unit that is assigned here. It stops
// none: a unit's agent ends by itself, when the unit is dead, and is not started
// again while this process lives. An answer of the controller that lists fewer
// units takes nothing away.
func (m *Machine) reconcile(ctx context.Context, w agentapi.MachineWant) {
	for _, u := range w.Units {
		if !names.ValidUnit(u.Unit) || m.running[u.Unit] {
			continue
		}
		m.running[u.Unit] = true
		m.wg.Go(func() { m.supervise(ctx, u) })
	}
}

// supervise restarts a unit's agent until the unit is dead.
func (m *Machine) supervise(ctx context.Context, u agentapi.MachineUnit) {
	wait := minRestart
	for ctx.Err() == nil {
		began := time.Now() //nolint:forbidigo // how long an agent lived
		dead, err := m.runUnit(ctx, u)
		if dead {
			return
		}
		if ctx.Err() != nil {
			return
		}
		m.logf("ERROR", "agent of %s ended: %v", u.Unit, err)
		if time.Since(began) > maxRestart {
			wait = minRestart
		}
		_ = pause(ctx, spread(wait))
		wait = min(2*wait, maxRestart)
	}
}

// runUnit runs a unit's agent once. A panic in it is an error of it.
func (m *Machine) runUnit(ctx context.Context, u agentapi.MachineUnit) (dead bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			dead, err = false, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	name := names.Unit(u.Unit)
	dir := filepath.Join(m.agentsDir(), name.Tag().String())
	l, err := m.unitLink(ctx, name, dir)
	if err != nil {
		return false, err
	}
	defer l.close()
	account, err := account(ctx, name, u.CharmUser)
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "state"), 0o700); err != nil {
		return false, err
	}
	tools, err := m.toolsDir(name)
	if err != nil {
		return false, err
	}
	api := &unitAPI{l: l, temp: filepath.Join(dir, "state")}
	agent := unit.New(unit.Config{
		Unit: name, Dir: dir, AgentsDir: m.agentsDir(), RunDir: m.cfg.RunDir, ToolsDir: tools, Path: m.cfg.Path,
		Version: m.cfg.ServerVersion, BootID: m.bootID, User: account, Controller: api, Tasks: api, Live: api,
		Unpack: m.cfg.Unpack, CheckAction: m.cfg.CheckAction, Box: m.box, Lock: m.lock,
		Log: m.logs.of(name.Tag().String()), Reboot: m.cfg.Reboot,
		Fault: m.cfg.fault(name), RetryMin: m.cfg.RetryMin, RetryMax: m.cfg.RetryMax, Lead: m.cfg.Lead,
	})
	if err := agent.Run(ctx); err != nil {
		return false, err
	}
	return true, m.unitGone(ctx, name, dir, agent.Removed())
}

// unitGone tells the controller, and clears away what a unit leaves that went
// its own way to the end. One that the controller merely calls dead keeps its
// files: no answer deletes data.
func (m *Machine) unitGone(ctx context.Context, name names.Unit, dir string, removed bool) error {
	err := m.link.call(ctx, func(ctx context.Context, c *client.Conn) error { return c.Machine().RemoveUnit(ctx, name) })
	if err != nil {
		m.logf("WARNING", "cannot report that %s is gone: %v", name, err)
	}
	if !removed {
		m.logf("WARNING", "unit %s is dead without having been removed here: its files stay in %s", name, dir)
		return nil
	}
	return errors.Join(os.RemoveAll(dir), os.RemoveAll(filepath.Join(m.cfg.DataDir, "tools", name.Tag().String())))
}

// unitLink opens a unit's own identity; a new one starts from a one-time
// token.
func (m *Machine) unitLink(ctx context.Context, name names.Unit, dir string) (*link, error) {
	path := filepath.Join(dir, confName)
	if err := passage(dir); err != nil {
		return nil, err
	}
	log := func(level, format string, v ...any) {
		m.logs.add(name.Tag().String(), level, "agent.link", fmt.Sprintf(format, v...))
	}
	c, err := readConf(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err != nil && !fresh {
		return nil, err
	}
	if c.Certificate != "" {
		return newLink(path, m.cfg.ServerVersion, log)
	}
	var token client.Secret
	err = m.link.call(ctx, func(ctx context.Context, conn *client.Conn) (err error) {
		token, err = conn.Machine().UnitToken(ctx, name)
		return err
	})
	switch {
	case err == nil:
	case fresh || c.Token == "":
		return nil, fmt.Errorf("cannot get the token of %s: %w", name, err)
	default:
		return newLink(path, m.cfg.ServerVersion, log) // it may still be good
	}
	own := m.link.snapshot()
	c.Tag, c.Controller, c.Model, c.CACert = name.Tag().String(), own.Controller, own.Model, own.CACert
	c.APIAddresses, c.Token = own.APIAddresses, secret(token.Reveal())
	if err := c.write(path); err != nil {
		return nil, err
	}
	return newLink(path, m.cfg.ServerVersion, log)
}

// toolsDir gives a unit its hook tools: names that are links to one binary.
func (m *Machine) toolsDir(name names.Unit) (string, error) {
	dir := filepath.Join(m.cfg.DataDir, "tools", name.Tag().String())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for _, t := range m.cfg.ToolNames {
		link := filepath.Join(dir, t)
		if have, err := os.Readlink(link); err == nil && have == m.cfg.HookTool {
			continue
		}
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err := os.Symlink(m.cfg.HookTool, link); err != nil {
			return "", fmt.Errorf("cannot make hook tool %s: %w", t, err)
		}
	}
	return dir, nil
}
