// Package agent wires a machine's agent: where its files are, which binary is
// the hook tools', how charms are unpacked and actions are checked. It owns no
// behaviour. It reads no environment; package main gives it what it needs.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/scarab-ops/scarab/agent/machine"
	"github.com/scarab-ops/scarab/agent/sandbox"
	"github.com/scarab-ops/scarab/agent/unit/charmfiles"
	"github.com/scarab-ops/scarab/agent/unit/tools"
	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/names"
)

// ServerVersion is what charms and controllers are told.
const ServerVersion = "3.6.12"

// Config is what the command line and the environment say.
type Config struct {
	Machine   string
	DataDir   string
	RunDir    string
	LogDir    string
	Path      string
	Isolation string
	LoginHome string
	BootMark  string // as in machine.Config
	// Fault, RetryMin, RetryMax and Lead are for tests; zero is what real
	// agents have.
	Fault                    func(u names.Unit, point string)
	RetryMin, RetryMax, Lead time.Duration
}

const (
	// An idle agent stays small; a busy one may grow, and gives back soon.
	memoryTarget = 40 << 20
	gcPercent    = 40
	maxActions   = 1 << 20
)

// RunMachine runs a machine's agent until ctx ends. It returns nil also when
// the machine was taken down by order.
func RunMachine(ctx context.Context, cfg Config) error {
	if !names.ValidMachine(cfg.Machine) {
		return fmt.Errorf("cannot run agent: %q is no machine", cfg.Machine)
	}
	debug.SetMemoryLimit(memoryTarget)
	debug.SetGCPercent(gcPercent)
	if err := sandbox.Harden(); err != nil {
		return err
	}
	var toolNames []string
	for _, t := range tools.All() {
		toolNames = append(toolNames, t.Name)
	}
	cgroup := sandbox.FindCgroup()
	if cgroup != "" {
		cgroup = filepath.Join(cgroup, "hooks")
	}
	mc := machine.Config{
		Machine: names.Machine(cfg.Machine), DataDir: cfg.DataDir, RunDir: cfg.RunDir, LogDir: cfg.LogDir,
		HookTool: filepath.Join(cfg.DataDir, "tools", "scarab-hooktool"), ToolNames: toolNames, Path: cfg.Path,
		ServerVersion: ServerVersion, Isolation: cfg.Isolation, LoginHome: cfg.LoginHome, BootMark: cfg.BootMark,
		Helper: []string{"/proc/self/exe", sandbox.HelperArg}, Cgroup: cgroup, Unpack: unpack, CheckAction: checkAction,
		Fault: cfg.Fault, RetryMin: cfg.RetryMin, RetryMax: cfg.RetryMax, Lead: cfg.Lead,
	}
	if cfg.Isolation == "container" { // what is less has no systemd, and may be somebody's host
		mc.Reboot = machine.SystemReboot
	}
	m, err := machine.New(mc)
	if err != nil {
		return err
	}
	err = m.Run(ctx)
	if errors.Is(err, machine.ErrRemoved) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// unpack puts a charm's archive in place of what is in dir.
func unpack(archive, dir, stateDir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	a, err := charm.OpenArchive(f, fi.Size(), charm.DefaultLimits())
	if err != nil {
		return err
	}
	return a.Deploy(dir, stateDir)
}

// checkAction validates parameters against the charm on disk and adds what the
// schema has as defaults.
func checkAction(charmDir, name string, params map[string]any) (map[string]any, error) {
	root, err := os.OpenRoot(charmDir)
	if err != nil {
		return nil, errors.New("charm missing from disk")
	}
	defer func() { _ = root.Close() }()
	data, err := charmfiles.Read(root, "actions.yaml", maxActions)
	if bad := new(fs.PathError); errors.As(err, &bad) { // none, or a link that leads out of the charm
		return nil, errors.New("not defined")
	}
	if err != nil {
		return nil, err
	}
	actions, err := charm.ParseActions(data)
	if err != nil {
		return nil, err
	}
	spec, ok := actions.Specs[name]
	if !ok {
		return nil, errors.New("not defined")
	}
	return spec.Prepare(params)
}
