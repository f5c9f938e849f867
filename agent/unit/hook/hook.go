// Package hook turns a decision into a process: it finds the charm's script,
// builds the environment that charms know, and makes log lines of what the
// script prints. It owns the environment's exact content and the bounds of
// output. It decides nothing and reaches no controller.
package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

// ErrMissing tells that the charm has no script for the hook, which is no
// failure.
var ErrMissing = errors.New("no such hook in the charm")

// Script finds what to run for "hooks/<name>" or "actions/<name>": the charm's
// dispatch program if there is one, or the script of that very path.
func Script(charmDir, dispatchPath string) (string, error) {
	if _, err := os.Stat(filepath.Join(charmDir, "metadata.yaml")); err != nil {
		return "", errors.New("charm missing from disk")
	}
	if p := filepath.Join(charmDir, "dispatch"); executable(p) == nil {
		return p, nil
	}
	if !filepath.IsLocal(dispatchPath) {
		return "", fmt.Errorf("cannot run %q: not a path inside the charm", dispatchPath)
	}
	p := filepath.Join(charmDir, dispatchPath)
	err := executable(p)
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrMissing
	}
	return p, err
}

func executable(p string) error {
	fi, err := os.Stat(p)
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() || fi.Mode().Perm()&0o111 == 0 {
		return fmt.Errorf("cannot run %s: it is not executable", p)
	}
	return nil
}

// Facts are what an environment is made of.
type Facts struct {
	CharmDir     string
	Hook         string // empty for tasks
	DispatchPath string // empty for commands
	ToolEnv      []string
	ToolsDir     string
	Path         string // the agent's own PATH
	Version      string
	Want         agentapi.Want
	Picture      *agentapi.HookContext

	RelationID    int // -1 outside relation hooks
	Endpoint      string
	RemoteApp     string
	RemoteUnit    string
	DepartingUnit string
	Departed      bool

	Action string // name, empty outside actions
	TaskID string
}

// Env is the whole environment of a hook; nothing is inherited.
func Env(f Facts) []string {
	w := f.Want
	e := append([]string{}, f.ToolEnv...)
	add := func(k, v string) { e = append(e, k+"="+v) }
	add("CHARM_DIR", f.CharmDir)
	add("JUJU_CHARM_DIR", f.CharmDir)
	add("JUJU_HOOK_NAME", f.Hook)
	if f.DispatchPath != "" {
		add("JUJU_DISPATCH_PATH", f.DispatchPath)
	}
	add("JUJU_UNIT_NAME", w.Unit)
	add("JUJU_MODEL_UUID", w.ModelUUID)
	add("JUJU_MODEL_NAME", w.ModelName)
	add("JUJU_API_ADDRESSES", strings.Join(w.APIAddresses, " "))
	add("JUJU_VERSION", f.Version)
	add("JUJU_MACHINE_ID", w.MachineID)
	add("JUJU_PRINCIPAL_UNIT", w.PrincipalUnit)
	add("JUJU_AVAILABILITY_ZONE", f.Picture.Zone)
	add("CLOUD_API_VERSION", "")
	add("JUJU_SLA", f.Picture.SLA)
	add("JUJU_METER_STATUS", "AMBER")
	add("JUJU_METER_INFO", "not set")
	for _, k := range []string{"http", "https", "ftp"} {
		add("JUJU_CHARM_"+strings.ToUpper(k)+"_PROXY", f.Picture.Proxies[k])
	}
	add("JUJU_CHARM_NO_PROXY", f.Picture.Proxies["no"])
	for _, k := range []string{"http", "https", "ftp", "no"} {
		if v := f.Picture.LegacyProxies[k]; v != "" {
			add(k+"_proxy", v)
			add(strings.ToUpper(k)+"_PROXY", v)
		}
	}
	add("PATH", f.ToolsDir+":"+f.Path)
	add("LANG", "C.UTF-8")
	add("DEBIAN_FRONTEND", "noninteractive")
	add("APT_LISTCHANGES_FRONTEND", "none")
	add("TERM", "tmux-256color")
	if f.RelationID >= 0 {
		add("JUJU_RELATION", f.Endpoint)
		add("JUJU_RELATION_ID", fmt.Sprintf("%s:%d", f.Endpoint, f.RelationID))
		add("JUJU_REMOTE_APP", f.RemoteApp)
		add("JUJU_REMOTE_UNIT", f.RemoteUnit)
		if f.Departed {
			add("JUJU_DEPARTING_UNIT", f.DepartingUnit)
		}
	}
	if f.TaskID != "" {
		add("JUJU_ACTION_NAME", f.Action)
		add("JUJU_ACTION_UUID", f.TaskID)
		add("JUJU_ACTION_TAG", "action-"+f.TaskID)
	}
	return e
}
