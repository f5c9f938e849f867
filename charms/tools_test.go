package charms

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// call is one run of a fake tool.
type call struct {
	m    *model
	unit string
	app  string
	args []string          // positionals
	opt  map[string]string // flags with values
	on   map[string]bool   // flags without
}

var tools map[string]func(*call) (any, error)

func TestMain(m *testing.M) {
	tools = map[string]func(*call) (any, error){
		"config-get": configGet, "status-set": statusSet, "relation-ids": relationIDs, "relation-list": relationList,
		"relation-get": relationGet, "relation-set": relationSet, "network-get": networkGet, "open-port": openPort,
		"close-port": closePort, "opened-ports": openedPorts, "is-leader": isLeader, "juju-log": jujuLog,
		"state-get": stateGet, "state-set": stateSet, "application-version-set": versionSet,
		"action-get": actionGet, "action-set": actionSet, "action-fail": actionFail,
		// Programs of the system that would change the host.
		"apt-get": nothing, "chown": nothing, "useradd": nothing, "id": unknown, "systemctl": nil, "nats-server": nil,
	}
	name := filepath.Base(os.Args[0])
	f, ok := tools[name]
	switch {
	case name == "systemctl":
		os.Exit(systemctl(os.Args[1:]))
	case name == "nats-server":
		os.Exit(natsServer(os.Args[1:]))
	case ok:
		os.Exit(runTool(f))
	}
	os.Exit(m.Run())
}

func runTool(f func(*call) (any, error)) int {
	path := os.Getenv("FAKE_MODEL")
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	}
	m, loadErr := loadModel(path)
	if err := errors.Join(err, loadErr); err != nil {
		fmt.Fprintln(os.Stderr, "ERROR", err)
		return 1
	}
	unit := os.Getenv("JUJU_UNIT_NAME")
	c := &call{m: m, unit: unit, app: strings.Split(unit, "/")[0], opt: map[string]string{}, on: map[string]bool{}}
	c.parse(os.Args[1:])
	out, err := f(c)
	if err == nil {
		err = saveModel(path, m)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ERROR", err)
		return 1
	}
	if s, ok := out.(string); ok && c.opt["--format"] != "json" {
		fmt.Println(s)
	} else if out != nil || c.opt["--format"] == "json" {
		data, _ := json.Marshal(out)
		fmt.Println(string(data))
	}
	return 0
}

func (c *call) parse(args []string) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			c.args = append(c.args, args[i+1:]...)
			return
		case a == "-" || !strings.HasPrefix(a, "-"):
			c.args = append(c.args, a)
		case strings.Contains(a, "="):
			k, v, _ := strings.Cut(a, "=")
			c.opt[k] = v
		case a == "-r" || a == "--file" || a == "--log-level":
			c.opt[a] = args[i+1]
			i++
		default:
			c.on[a] = true
		}
	}
}

func (c *call) relation() (string, relation, error) {
	for key, r := range c.m.Relations {
		if ep, ok := r.Sides[c.app]; ok && c.opt["-r"] == fmt.Sprintf("%s:%d", ep, r.ID) {
			return key, r, nil
		}
	}
	return "", relation{}, fmt.Errorf("invalid value %q for option -r: relation not found", c.opt["-r"])
}

func (c *call) remote(r relation) string {
	for app := range r.Sides {
		if app != c.app {
			return app
		}
	}
	return c.app
}

func (c *call) leader() bool {
	units := []string{}
	for _, u := range sorted(c.m.Addresses) {
		if strings.HasPrefix(u, c.app+"/") {
			units = append(units, u)
		}
	}
	return len(units) > 0 && units[0] == c.unit
}

func nothing(*call) (any, error)     { return nil, nil }
func unknown(*call) (any, error)     { return nil, errors.New("expected: no such user") }
func configGet(c *call) (any, error) { return c.m.Apps[c.app], nil }
func isLeader(c *call) (any, error)  { return c.leader(), nil }

func statusSet(c *call) (any, error) {
	c.m.Status[c.unit] = strings.Join(c.args, " ")
	return nil, nil
}

func jujuLog(c *call) (any, error) {
	c.m.Log = append(c.m.Log, c.unit+": "+strings.Join(c.args, " "))
	return nil, nil
}

func relationIDs(c *call) (any, error) {
	out := []string{}
	for _, key := range sorted(c.m.Relations) {
		if r := c.m.Relations[key]; r.Sides[c.app] == c.args[0] {
			out = append(out, fmt.Sprintf("%s:%d", c.args[0], r.ID))
		}
	}
	return out, nil
}

func relationList(c *call) (any, error) {
	_, r, err := c.relation()
	if err != nil {
		return nil, err
	}
	remote := c.remote(r)
	if c.on["--app"] {
		return remote, nil
	}
	out := []string{}
	for _, u := range sorted(r.Units) {
		if strings.HasPrefix(u, remote+"/") && u != c.unit {
			out = append(out, u)
		}
	}
	return out, nil
}

func relationGet(c *call) (any, error) {
	_, r, err := c.relation()
	if err != nil {
		return nil, err
	}
	who := c.args[len(c.args)-1]
	if !c.on["--app"] {
		return r.Units[who], nil
	}
	if who == c.app && len(r.Sides) > 1 && !c.leader() {
		return nil, errors.New("permission denied")
	}
	return r.Apps[who], nil
}

func relationSet(c *call) (any, error) {
	key, r, err := c.relation()
	if err != nil {
		return nil, err
	}
	var values bag
	if err := json.NewDecoder(os.Stdin).Decode(&values); err != nil {
		return nil, err
	}
	to := r.Units[c.unit]
	if c.on["--app"] {
		if !c.leader() {
			return nil, errors.New("cannot write relation settings")
		}
		to = r.Apps[c.app]
	}
	for k, v := range values {
		if strings.Contains(v, "PRIVATE KEY") {
			return nil, errors.New("a private key was put into relation data")
		}
		if to[k] = v; v == "" {
			delete(to, k)
		}
	}
	c.m.Relations[key] = r
	return nil, nil
}

func networkGet(c *call) (any, error) {
	a := c.m.Addresses[c.unit]
	return map[string]any{
		"ingress-addresses": []string{a}, "egress-subnets": []string{a + "/32"},
		"bind-addresses": []any{map[string]any{"interface-name": "eth0", "addresses": []any{map[string]any{"value": a}}}},
	}, nil
}

func openPort(c *call) (any, error) {
	_, _ = closePort(c)
	c.m.Ports[c.unit] = append(c.m.Ports[c.unit], c.args[0])
	return nil, nil
}

func closePort(c *call) (any, error) {
	var left []string
	for _, p := range c.m.Ports[c.unit] {
		if p != c.args[0] {
			left = append(left, p)
		}
	}
	c.m.Ports[c.unit] = left
	return nil, nil
}

func openedPorts(c *call) (any, error) { return c.m.Ports[c.unit], nil }

func stateGet(c *call) (any, error) {
	if v, ok := c.m.State[c.unit][c.args[0]]; ok {
		return v, nil
	}
	return nil, nil
}

func stateSet(c *call) (any, error) {
	if c.m.State[c.unit] == nil {
		c.m.State[c.unit] = map[string]string{}
	}
	values := map[string]string{}
	err := json.NewDecoder(os.Stdin).Decode(&values)
	for k, v := range values {
		c.m.State[c.unit][k] = v
	}
	return nil, err
}

func versionSet(c *call) (any, error) {
	c.m.Versions[c.app] = c.args[0]
	return nil, nil
}

func actionGet(c *call) (any, error) { return fmt.Sprint(c.m.Params[c.args[0]]), nil }

func actionSet(c *call) (any, error) {
	k, v, _ := strings.Cut(c.args[0], "=")
	c.m.Results[k] = v
	return nil, nil
}

func actionFail(c *call) (any, error) {
	c.m.Results["failed"] = strings.Join(c.args, " ")
	return nil, nil
}

// systemctl starts and stops the two services of the charms as processes.
func systemctl(args []string) int {
	unit := args[len(args)-1]
	root := os.Getenv("FAKE_ROOT")
	pidFile := filepath.Join(root, unit+".pid")
	pid := 0
	if data, err := os.ReadFile(pidFile); err == nil {
		pid, _ = strconv.Atoi(string(data))
	}
	alive := pid > 1 && syscall.Kill(pid, 0) == nil
	switch args[0] {
	case "is-active":
		if !alive {
			return 3
		}
	case "stop":
		stopService(pidFile)
	case "reload":
		if syscall.Kill(pid, syscall.SIGHUP) != nil {
			return 1
		}
	case "try-restart":
		if alive {
			stopService(pidFile)
			return startService(unit, root, pidFile)
		}
	case "start", "restart":
		stopService(pidFile)
		return startService(unit, root, pidFile)
	}
	return 0
}

func startService(unit, root, pidFile string) int {
	cmd := exec.Command("python3", filepath.Join(root, "usr/local/lib/stream-agent/streamd.py"))
	if unit == "nats-server.service" {
		cmd = exec.Command(os.Getenv("CHARM_NATS_SERVER"), "-c", filepath.Join(os.Getenv("CHARM_NATS_DIR"), "nats.conf"))
	}
	out, err := os.OpenFile(filepath.Join(root, unit+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 1
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if cmd.Start() != nil {
		return 1
	}
	if os.WriteFile(pidFile, []byte(strconv.Itoa(cmd.Process.Pid)), 0o600) != nil {
		return 1
	}
	return 0
}

// natsServer is the real server where the host has it, else a small double.
func natsServer(args []string) int {
	if real, err := exec.LookPath("/usr/sbin/nats-server"); err == nil && os.Getenv("FAKE_NATS") == "" {
		return exitOf(syscall.Exec(real, append([]string{real}, args...), os.Environ()))
	}
	if args[0] == "--version" {
		fmt.Println("nats-server: v0.0.1")
		return 0
	}
	return exitOf(serveNATS(args[1]))
}

func exitOf(err error) int {
	if err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
