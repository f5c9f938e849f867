package realm

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// mark is something that is nowhere else.
func mark(t *testing.T) string {
	t.Helper()
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b[:])
}

// looted is where strangers look for what is another's.
func looted() []any {
	return []any{"/var", "/run", "/tmp", "/etc", "/home", "/root", "/srv", "/opt", "/dev/shm"}
}

// agentPid is the agent's process as the machine numbers it.
func agentPid(t *testing.T, machine string) string {
	t.Helper()
	pid := strings.TrimSpace(host.inside(t, machine, `pgrep -o -f 'scarab-agent machine'`).out)
	if _, err := strconv.Atoi(pid); err != nil {
		t.Fatalf("the agent of machine %s does not run: %q", machine, pid)
	}
	return pid
}

// secretsOf are the credentials of all agents of a machine.
func secretsOf(t *testing.T, machine string) []string {
	t.Helper()
	r := host.inside(t, machine, `for f in /var/lib/scarab/agents/*/agent.conf; do cat $f; echo; done`)
	var out []string
	for line := range strings.Lines(r.out) {
		var c struct{ Password, Token, Key string }
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatalf("cannot read an agent's file: %v", err)
		}
		if lines := strings.Split(c.Key, "\n"); len(lines) > 2 {
			out = append(out, lines[1])
		}
		for _, s := range []string{c.Password, c.Token} {
			if s != "" {
				out = append(out, s)
			}
		}
	}
	if len(out) < 4 {
		t.Fatalf("machine %s holds %d secrets: the test looks in the wrong place", machine, len(out))
	}
	return out
}

// agentMemory is A-AGENT-C.
func (w *world) agentMemory(t *testing.T) {
	pid, secrets := agentPid(t, w.site.Machine), secretsOf(t, w.site.Machine)
	a := attack(t, w.site.Machine, "65534", map[string]any{"do": []any{[]any{"process", []any{pid}}, []any{"walk", looted()}}}, secrets...)
	a.failed(t, "a stranger")
	if a.Read < 500 {
		t.Errorf("the stranger read only %d files", a.Read)
	}
	attack(t, w.site.Machine, "0", map[string]any{"do": []any{[]any{"undumpable", []any{pid}}}}).failed(t, "root that may not trace")
	// Root that may does find them: the marks are right.
	if b := attack(t, w.site.Machine, "0", map[string]any{"do": []any{[]any{"walk", []any{"/var/lib/scarab/agents"}}}}, secrets...); len(b.Hits) < len(secrets) {
		t.Errorf("root finds %v only", b.Hits)
	}
}

// A victim is a hook that runs, and what root of its machine can tell of it.
type victim struct {
	*started
	mark, pid, token, context, address string
}

// victim starts a hook of site with a mark in its environment and in its data.
func (w *world) victim(t *testing.T) *victim {
	t.Helper()
	v := &victim{mark: mark(t)}
	path := "/var/lib/site-data"
	if r := host.inside(t, w.site.Machine, "install -d -m 0700 "+path+" && (umask 077; echo "+v.mark+" > "+path+"/secret)"); r.code != 0 {
		t.Fatal(r)
	}
	v.started = holdHook(t, "site/0", w.site.Machine, "export MARK=$(cat "+path+"/secret)")
	t.Cleanup(v.stop)
	r := host.inside(t, w.site.Machine, `for p in /proc/[0-9]*; do e=$(tr '\0' '\n' < $p/environ 2>/dev/null) || continue
		case "$e" in *JUJU_UNIT_NAME=site/0*) echo "PID=${p#/proc/}"; echo "$e"; break;; esac; done`)
	for line := range strings.Lines(r.out) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "PID":
			v.pid = value
		case "JUJU_AGENT_TOKEN":
			v.token = value
		case "JUJU_CONTEXT_ID":
			v.context = value
		case "JUJU_AGENT_SOCKET_ADDRESS":
			v.address = value
		}
	}
	if v.pid == "" || len(v.token) != 64 || v.context == "" || v.address == "" {
		t.Fatalf("root does not find the hook:\n%s", r)
	}
	return v
}

func (v *victim) environment(context, token string) map[string]any {
	return map[string]any{
		"JUJU_AGENT_TOKEN": token, "JUJU_CONTEXT_ID": context, "JUJU_AGENT_SOCKET_ADDRESS": v.address,
		"JUJU_AGENT_SOCKET_NETWORK": "unix", "JUJU_UNIT_NAME": "site/0", "PATH": "/usr/bin:/bin",
	}
}

const siteTools = "/var/lib/scarab/tools/unit-site-0"

// toolNames are the hook tools as links of a machine.
func toolNames(t *testing.T, machine string) []string {
	t.Helper()
	names := strings.Fields(host.inside(t, machine, "ls "+siteTools).out)
	if len(names) < 20 {
		t.Fatalf("only these hook tools: %v", names)
	}
	return names
}

// neighbour is A-UNIT-C.
func (w *world) neighbour(t *testing.T) {
	// In its own hook: not root, nothing of others, no abstract socket.
	own := mark(t)
	out := hook(t, "spy/0", "echo "+own+"; id -u; for f in /var/lib/scarab/agents/unit-site-0/agent.conf /var/lib/scarab/agents/unit-site-0/charm/dispatch "+
		"/var/lib/scarab/agents/machine-*/agent.conf; do cat $f 2>/dev/null && echo read $f; done; ls -A /var/lib/scarab/agents; grep @ /proc/net/unix; true")
	lines := strings.Fields(out)
	if len(lines) < 2 || lines[0] != own {
		t.Fatalf("the spy's hook did not run: %q", out)
	}
	if lines[1] == "0" {
		t.Errorf("the hooks of spy/0 run as root")
	}
	for _, bad := range []string{"read /", "unit-site-0", "machine-", "scarab@", "@/"} {
		if strings.Contains(out, bad) {
			t.Errorf("the spy's hook saw %q:\n%s", bad, out)
		}
	}
	// As its user, beside a hook of the other that runs.
	v := w.victim(t)
	if !strings.Contains(host.inside(t, w.site.Machine, "cat /proc/"+v.pid+"/environ /var/lib/site-data/secret").out, v.mark) {
		t.Fatal("root does not find the mark")
	}
	a := attack(t, w.site.Machine, "scarab-spy-0", map[string]any{
		"do":  []any{[]any{"process", []any{v.pid}}, []any{"walk", looted()}, []any{"connect", []any{v.address}}, []any{"tools", []any{}}},
		"dir": siteTools, "tools": []string{"config-get", "relation-ids", "unit-get"}, "environments": []any{v.environment(v.context, v.token)},
	}, append(secretsOf(t, w.site.Machine), v.mark, v.token)...)
	if a.UID == 0 {
		t.Fatal("the spy is root")
	}
	a.failed(t, "the charm beside it")
}

// workloadReads is the rest of A-WL-C: as A-UNIT-C, from the workload's user.
func (w *world) workloadReads(t *testing.T) {
	v := w.victim(t)
	attack(t, w.site.Machine, "65534", map[string]any{
		"do": []any{[]any{"process", []any{v.pid}}, []any{"process", []any{agentPid(t, w.site.Machine)}}, []any{"walk", looted()}},
	}, append(secretsOf(t, w.site.Machine), v.mark, v.token)...).failed(t, "the workload's user")
}

// workloadTools is A-WL-I.
func (w *world) workloadTools(t *testing.T) {
	v := w.victim(t)
	wrong := strings.Repeat("0", 64)
	environments := []any{
		v.environment(v.context, v.token), v.environment(v.context, wrong), v.environment("", v.token),
		v.environment("spy/0-config-changed-"+wrong[:32], v.token),
	}
	names := toolNames(t, w.site.Machine)
	a := attack(t, w.site.Machine, "65534", map[string]any{
		"do": []any{[]any{"connect", []any{v.address}}, []any{"tools", []any{}}}, "dir": siteTools, "tools": names, "args": []string{"x"}, "environments": environments,
	}, v.token)
	a.failed(t, "the workload's user")
	if a.Refused < len(names)*len(environments) {
		t.Errorf("only %d calls of %d tools were refused", a.Refused, len(names))
	}
	// The hook's own user is answered with the same environment.
	own := attack(t, w.site.Machine, "0", map[string]any{
		"do": []any{[]any{"tools", []any{}}}, "dir": siteTools, "tools": []string{"config-get"}, "environments": environments[:1],
	})
	if len(own.Worked) != 1 {
		t.Errorf("the hook's own user is not answered: %+v", own)
	}
}

// sniff is F-AG-CHARM-C: a stranger watches while hooks of root, and of a user
// of its own, pass relation data and answers.
func (w *world) sniff(t *testing.T) {
	w.relate(t)
	const stop = "/run/sniff-stop"
	host.inside(t, w.site.Machine, "rm -f "+stop)
	type told struct {
		a  attempt
		ok bool
	}
	done := make(chan told, 1)
	go func() {
		a, ok := told{}, false
		defer func() { a.ok = ok; done <- a }()
		a.a = attack(t, w.site.Machine, "65534", map[string]any{
			"do": []any{[]any{"sniff", []any{55, stop}}}, "watch": []string{"/tmp", "/var/tmp", "/run", "/run/scarab-agent", "/var/lib/scarab"},
		})
		ok = true
	}()
	marks := []string{}
	for i := range times(8, 100) {
		unit := []string{"site/0", "spy/0"}[i%2]
		script := `echo "$JUJU_AGENT_TOKEN"; s=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n'); echo "$s"; config-get >/dev/null; sleep 0.05`
		if unit == "site/0" {
			script += `; r=$(relation-ids site); printf 'word: "%s"\n' "$s" | relation-set -r "$r" --file -; [ "$(relation-get -r "$r" word site/0)" = "$s" ] && sleep 0.05`
		}
		got := strings.Fields(hook(t, unit, script))
		if len(got) != 2 || len(got[0]) != 64 || len(got[1]) != 32 {
			t.Fatalf("the hook of %s tells %q", unit, got)
		}
		marks = append(marks, got...)
	}
	host.inside(t, w.site.Machine, "touch "+stop)
	seen := <-done
	if !seen.ok || t.Failed() {
		t.Fatal("the sniffer did not run")
	}
	if seen.a.Seen < 8 || seen.a.Tried < 8 { // a busy host lets it look seldom
		t.Errorf("the sniffer saw %d things of %d processes only", seen.a.Seen, seen.a.Tried)
	}
	for _, m := range marks {
		if strings.Contains(seen.a.Out, m) {
			t.Errorf("a stranger saw a token or relation data: %s", m)
		}
	}
	seen.a.failed(t, "a stranger")
	if !strings.Contains(seen.a.Out, "relation-set") && !strings.Contains(seen.a.Out, "config-get") {
		t.Error("the sniffer saw no hook at all")
	}
}

// hostileHooks is A-UNIT-A.
func (w *world) hostileHooks(t *testing.T) {
	const limit = 2 * time.Second
	host.ok(t, "model-config", "hook-timeout="+limit.String(), "hook-memory=200M", "hook-pids=200")
	t.Cleanup(func() {
		host.run("config", "rogue", "attack=none")
		host.inside(t, w.rogue.Machine, "for g in $(find /sys/fs/cgroup -type d -name unit-rogue-0); do cat $g/cgroup.procs; done | xargs -r kill -9")
		host.run("resolved", "rogue/0")
		host.ok(t, "model-config", "--reset", "hook-timeout,hook-memory,hook-pids")
	})
	pid := supervisor(t).ControllerPid
	before := residentMiB(t, pid)
	for i, what := range []string{"loop", "fork", "memory", "output", "files"} {
		began := time.Now()
		host.ok(t, "config", "rogue", "attack="+what)
		host.ok(t, "config", "site", "fail=false", "hang-stop="+strconv.FormatBool(i%2 == 0)) // a hook of the neighbour is due
		var last statusUnit
		eventually(t, limit+15*time.Second, "the hook with "+what+" was ended at its limit", func() bool {
			last = host.status(t).unit("rogue/0")
			return last.Workload.Current == "error"
		})
		if took := time.Since(began); took > limit+8*time.Second {
			t.Errorf("the hook with %s ended at its limit after %s", what, took)
		}
		host.ok(t, "config", "rogue", "attack=none")
		host.run("resolved", "rogue/0") // it may have tried again by itself
		// A neighbour's hook runs, and nothing is left of the attack.
		if r := host.run("exec", "--wait", "20s", "--unit", "site/0", "--", "true"); r.code != 0 {
			t.Errorf("beside %s the neighbour's hook does not run:\n%s", what, r)
		}
		eventually(t, 20*time.Second, "rogue is well after "+what, func() bool { return host.status(t).unit("rogue/0").Workload.Current == "active" })
		left := host.inside(t, w.rogue.Machine, `ps -eo pid,args | grep -v grep | grep -E 'hostile|unit-rogue-0|sh -c while|^ *[0-9]+ yes ' | cut -c1-150; true`)
		if strings.TrimSpace(left.out) != "" {
			t.Errorf("%s left processes:\n%s", what, left)
		}
	}
	host.settle(t, 3, "rogue", "site", "guest")
	if after := residentMiB(t, pid); after > before+96 {
		t.Errorf("the controller grew from %d to %d MiB", before, after)
	}
	if now := supervisor(t).ControllerPid; now != pid {
		t.Errorf("the controller is process %d, was %d", now, pid)
	}
}

// residentMiB is the memory of a process of the host.
func residentMiB(t *testing.T, pid int) int {
	t.Helper()
	for _, f := range statusOf(t, pid) {
		if f[0] == "VmRSS:" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n >> 10
		}
	}
	t.Fatalf("process %d has no memory", pid)
	return 0
}

// completed are the hooks that a unit of the probe completed, by name.
func completed(t *testing.T, machine string) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, h := range strings.Fields(host.inside(t, machine, "cat /var/log/probe-hooks").out) {
		out[h]++
	}
	return out
}

// kept are the agent's own files and its service, and the workload's process.
func kept(t *testing.T, machine string, more string) []string {
	t.Helper()
	r := host.inside(t, machine, "find /var/lib/scarab /etc/systemd/system "+more+" \\( -name agent.conf -o -name '*.service' -o -name dispatch -o -name secret \\) | sort; "+
		"systemctl is-enabled scarab-machine; systemctl show -p MainPID --value 'echo-*'")
	if r.code != 0 {
		t.Fatal(r)
	}
	return strings.Split(r.out, "\n")
}

// killAgent is A-AGENT-A.
func (w *world) killAgent(t *testing.T) {
	machine := w.site.Machine
	host.settle(t, 3, "rogue", "site", "guest")
	files, hooks := kept(t, machine, "/var/lib/site-data"), completed(t, machine)
	if hooks["install"] != 1 || hooks["start"] != 1 {
		t.Fatalf("the hooks that completed: %v", hooks)
	}
	t.Cleanup(func() { host.inside(t, machine, "systemctl start scarab-machine") })
	for i := range times(4, 200) {
		pid := agentPid(t, machine)
		host.ok(t, "config", "site", "hang-stop="+strconv.FormatBool(i%2 == 0)) // a hook is due
		var b [1]byte
		if _, err := rand.Read(b[:]); err != nil {
			t.Fatal(err)
		}
		if r := host.inside(t, machine, fmt.Sprintf("sleep 0.%03d; kill -9 %s", int(b[0])*2, pid)); r.code != 0 {
			t.Fatal(r)
		}
		eventually(t, 20*time.Second, "the agent is back after it was killed", func() bool {
			now := strings.TrimSpace(host.inside(t, machine, `pgrep -o -f 'scarab-agent machine'`).out)
			return now != "" && now != pid
		})
		eventually(t, 30*time.Second, "the units of the machine work again", func() bool {
			return host.run("exec", "--wait", "5s", "--unit", "site/0", "--", "true").code == 0
		})
	}
	host.settle(t, 3, "rogue", "site", "guest")
	if now := kept(t, machine, "/var/lib/site-data"); !slices.Equal(now, files) {
		t.Errorf("files, service and workload were %v, are %v", files, now)
	}
	now := completed(t, machine)
	for _, once := range []string{"install", "start", "leader-elected"} {
		if now[once] != hooks[once] {
			t.Errorf("the hook %s completed %d times, now %d", once, hooks[once], now[once])
		}
	}
	if now["config-changed"] <= hooks["config-changed"] {
		t.Errorf("no hook ran meanwhile: %v, before %v", now, hooks)
	}
}
