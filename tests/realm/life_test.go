package realm

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/scarab-ops/scarab/hostd/hostapi"
)

// testLife kills what runs and removes what was made.
func testLife(t *testing.T) {
	host.quickstart(t)
	t.Run("Look", testLook)
	t.Run("Why", testWhy)
	t.Run("ControllerKilled", testControllerKilled)
	t.Run("SupervisorKilled", testSupervisorKilled)
	t.Run("AgentKilled", testAgentKilled)
	t.Run("MachineKilled", testMachineKilled)
	t.Run("Reboot", testReboot)
	t.Run("Constraints", testConstraints)
	t.Run("Remove", testRemove)
	t.Run("StuckHook", testStuckHook)
	t.Run("Model", testModel)
}

// testLook reads everything a person would look at.
func testLook(t *testing.T) {
	if out := host.ok(t, "ssh", "ca/0", "--", "id", "-un"); strings.TrimSpace(out) != "ubuntu" {
		t.Errorf("ssh runs as %q", out)
	}
	if out := host.ok(t, "ssh", "0", "--", "sudo", "id", "-u"); strings.TrimSpace(out) != "0" {
		t.Errorf("sudo in a machine gives user %q", out)
	}
	if r := host.run("ssh", "ca/0", "--", "exit", "7"); r.code != 7 {
		t.Errorf("the exit code of the program is lost:\n%s", r)
	}
	if out := host.ok(t, "exec", "--unit", "nats/0", "--", "echo $JUJU_UNIT_NAME; is-leader"); !strings.HasPrefix(out, "nats/0\n") {
		t.Errorf("exec on a unit says %q", out)
	}
	if out := host.ok(t, "exec", "--machine", "0", "--", "echo -n $JUJU_UNIT_NAME; id -u"); strings.TrimSpace(out) != "0" {
		t.Errorf("exec on a machine says %q", out)
	}
	if out := host.ok(t, "debug-log", "--replay", "--no-tail", "--include", "nats/0"); !strings.Contains(out, "unit-nats-0") {
		t.Errorf("debug-log tells nothing of the unit: %.500s", out)
	}
	var y any
	if err := yaml.Unmarshal([]byte(host.ok(t, "show-unit", "nats/0")), &y); err != nil || y == nil {
		t.Errorf("show-unit is no YAML: %v", err)
	}
	for _, format := range []string{"json", "yaml", "short", "summary", "tabular"} {
		out := host.ok(t, "status", "--format", format)
		var v any
		err := error(nil)
		switch format {
		case "json":
			err = json.Unmarshal([]byte(out), &v)
		case "yaml":
			err = yaml.Unmarshal([]byte(out), &v)
		}
		if err != nil || !strings.Contains(out, "4222/tcp") {
			t.Errorf("status --format %s: %v\n%s", format, err, out)
		}
	}
	testWatch(t)
}

// testWatch: status --watch draws when something changes, and ends with an interrupt.
func testWatch(t *testing.T) {
	r, _ := interrupt(t, time.Second, "status", "--watch", "100ms")
	if r.code != 0 || !strings.Contains(r.out, "nats/0") {
		t.Errorf("status --watch:\n%s", r)
	}
}

func testWhy(t *testing.T) {
	says := func(entity string, want ...string) {
		t.Helper()
		var last result
		defer func() { t.Log(last) }()
		eventually(t, 40*time.Second, "why "+entity, func() bool {
			last = host.run("why", entity)
			for _, w := range want {
				if !strings.Contains(last.out, w) {
					return false
				}
			}
			return last.code == 0
		})
	}
	if r := host.run("why", "nats/0"); r.code != 0 || !strings.Contains(r.out+r.err, "nats/0") {
		t.Errorf("of a unit that is well it says:\n%s", r)
	}
	host.ok(t, "deploy", "./charms/stream-agent", "lonely")
	host.ok(t, "deploy", "./tests/realm/testdata/probe", "failing", "--config", "fail=true")
	id := strings.TrimSpace(strings.TrimPrefix(host.run("add-machine", "--constraints", "arch="+otherArch()).err, "created machine "))
	says(id, "arch", "retry-provisioning")
	says("failing/0", "config-changed", "resolve")
	host.ok(t, "config", "failing", "fail=false")
	host.run("resolved", "failing/0") // it may have tried again by itself
	eventually(t, 30*time.Second, "the failed hook is tried again", func() bool { return host.status(t).unit("failing/0").Workload.Current == "active" })
	says("lonely/0", "blocked", "certificates")
	host.ok(t, "remove-application", "lonely", "failing", "--no-prompt")
	host.ok(t, "remove-machine", id, "--force", "--no-prompt")
}

func otherArch() string {
	out, err := exec.Command("uname", "-m").Output()
	if err == nil && strings.TrimSpace(string(out)) == "aarch64" {
		return "amd64"
	}
	return "arm64"
}

func supervisor(t *testing.T) hostapi.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c := hostapi.NewClient(hostapi.Socket)
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil {
		return hostapi.Status{}
	}
	return s
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if pid <= 1 {
		t.Fatalf("cannot kill process %d", pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// testControllerKilled kills the controller twice while it deploys.
func testControllerKilled(t *testing.T) {
	host.ok(t, "deploy", "./tests/realm/testdata/probe", "late", "-n", "2")
	first := supervisor(t).ControllerPid
	kill(t, first)
	took := eventually(t, 20*time.Second, "a new controller serves", func() bool { return host.run("models").code == 0 })
	t.Logf("the controller served again after %s", took.Round(10*time.Millisecond))
	kill(t, supervisor(t).ControllerPid)
	eventually(t, 30*time.Second, "all converges", func() bool {
		r := host.run("status", "--format", "json")
		var m model
		return r.code == 0 && json.Unmarshal([]byte(r.out), &m) == nil && m.settled("late") && m.count("late") == 2
	})
}

// testSupervisorKilled kills the supervisor. Where no systemd starts it again
// somebody must; it finds machines and controller as they are.
func testSupervisorKilled(t *testing.T) {
	before := supervisor(t)
	machines := host.status(t).Machines
	pid := supervisorPid(t)
	kill(t, pid)
	eventually(t, 5*time.Second, "the supervisor is gone", func() bool { return supervisorPid(t) != pid })
	if r := host.run("status"); r.code != 0 {
		t.Errorf("without a supervisor the controller does not answer:\n%s", r)
	}
	startSupervisor(t)
	if after := supervisor(t); after.ControllerPid != before.ControllerPid || after.Machines != before.Machines {
		t.Errorf("it found %+v, before there was %+v", after, before)
	}
	host.settle(t, 5, demo()...)
	for id, m := range host.status(t).Machines {
		if m.Instance != machines[id].Instance {
			t.Errorf("machine %s is instance %s, was %s", id, m.Instance, machines[id].Instance)
		}
	}
	host.ok(t, "exec", "--machine", "0", "--", "true")
}

// startSupervisor does what somebody must where no systemd of the host does it.
func startSupervisor(t *testing.T) {
	t.Helper()
	if supervisorPid(t) == 0 {
		cmd := exec.Command("/var/lib/scarab/bin/scarab-agent", "host", "--config", hostFile)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { _ = cmd.Wait() }() // it ends with the cloud
	}
	eventually(t, 10*time.Second, "the supervisor answers", func() bool { return supervisor(t).ControllerPid != 0 })
}

// supervisorPid finds the process by its program and argument, 0 if there is none.
func supervisorPid(t *testing.T) int {
	t.Helper()
	list, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range list {
		data, err := os.ReadFile(name)
		if err == nil && strings.HasPrefix(string(data), "/var/lib/scarab/bin/scarab-agent\x00host\x00") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil {
				t.Fatal(err)
			}
			if processState(pid) != "Z" {
				return pid
			}
		}
	}
	return 0
}

func processState(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return rest[:min(1, len(rest))]
}

// testAgentKilled kills the agent in a machine; the machine's init starts it again.
func testAgentKilled(t *testing.T) {
	u := host.status(t).unit("late/0")
	agent := `pgrep -o -f 'scarab-agent machine'`
	before := strings.TrimSpace(host.inside(t, u.Machine, agent).out)
	if r := host.inside(t, u.Machine, "kill -9 "+before); r.code != 0 {
		t.Fatal(r)
	}
	took := eventually(t, 20*time.Second, "the agent runs again", func() bool {
		now := strings.TrimSpace(host.inside(t, u.Machine, agent).out)
		return now != "" && now != before && host.run("exec", "--wait", "5s", "--unit", "late/0", "--", "true").code == 0
	})
	t.Logf("the agent was back after %s", took.Round(100*time.Millisecond))
	host.settle(t, 2, "late")
}

// testMachineKilled kills the first process of a machine on the host: the
// machine starts again by itself, as the same instance, and its units go on.
func testMachineKilled(t *testing.T) {
	u := host.status(t).unit("late/1")
	pid := initOf(t, u.Machine)
	kill(t, pid)
	seen := map[string]bool{}
	took := eventually(t, 60*time.Second, "the machine is back", func() bool {
		m := host.status(t)
		s := m.Machines[u.Machine]
		seen[s.Status.Current+" "+s.Machine.Current+" "+s.Machine.Message] = true
		now := initOf(t, u.Machine)
		return now != 0 && now != pid && m.settled("late") && s.Status.Current == "started" &&
			host.run("exec", "--wait", "3s", "--unit", "late/1", "--", "true").code == 0
	})
	t.Logf("the machine was back after %s; the status said %v", took.Round(100*time.Millisecond), slices.Sorted(maps.Keys(seen)))
}

// testReboot: a charm reboots its machine, in the middle of a hook and after
// one. The hook that was ended runs again, and the unit starts once more.
func testReboot(t *testing.T) {
	host.ok(t, "deploy", "./tests/realm/testdata/probe", "rebooter", "--config", "reboot=now")
	ran := func() string {
		u := host.status(t).unit("rebooter/0")
		if u.Machine == "" {
			return ""
		}
		r, err := host.tryInside(t, u.Machine, "cat /var/lib/scarab/agents/unit-rebooter-0/charm/ran")
		if err != nil || r.code != 0 {
			return "" // it is down at the moment
		}
		return strings.Join(strings.Fields(r.out), " ")
	}
	const first = "install leader-elected config-changed config-changed start"
	took := eventually(t, 120*time.Second, "the ended hook runs again after the reboot", func() bool { return strings.HasPrefix(ran(), first) })
	t.Logf("deployed, rebooted and started within %s", took.Round(100*time.Millisecond))
	host.settle(t, 1, "rebooter")
	machine := host.status(t).unit("rebooter/0").Machine
	pid, before := initOf(t, machine), ran()
	host.ok(t, "config", "rebooter", "reboot=later")
	took = eventually(t, 120*time.Second, "the unit starts again after the reboot", func() bool { return strings.HasPrefix(ran(), before+" config-changed start") })
	t.Logf("rebooted and started within %s", took.Round(100*time.Millisecond))
	if now := initOf(t, machine); now == 0 || now == pid {
		t.Errorf("the machine's first process was %d and is %d", pid, now)
	}
	host.settle(t, 1, "rebooter")
	host.ok(t, "remove-application", "rebooter", "--no-prompt")
	eventually(t, 60*time.Second, "the rebooter is gone", func() bool { return host.status(t).unit("rebooter/0").Machine == "" })
}

// initOf is the process on the host that is the first of a machine, 0 if it does not run.
func initOf(t *testing.T, machine string) int {
	t.Helper()
	id := host.status(t).Machines[machine].Instance
	list, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range list {
		data, err := os.ReadFile(name)
		if err != nil || !strings.Contains(string(data), "\t1\n") {
			continue
		}
		group, err := os.ReadFile(filepath.Join(filepath.Dir(name), "cgroup"))
		if err != nil || !strings.Contains(string(group), ourGroup+"/"+id) {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "NSpid:" && f[2] == "1" {
				pid, err := strconv.Atoi(f[1])
				if err != nil {
					t.Fatal(err)
				}
				return pid
			}
		}
	}
	return 0
}

// testConstraints asks for a small machine and looks from inside what it got.
func testConstraints(t *testing.T) {
	host.ok(t, "deploy", "./tests/realm/testdata/probe", "small", "--constraints", "mem=256M cores=1 root-disk=1G")
	eventually(t, 60*time.Second, "the small machine runs", func() bool { return host.status(t).unit("small/0").Workload.Current == "active" })
	machine := host.status(t).unit("small/0").Machine
	for what, script := range map[string]string{
		"memory": `python3 -c 'x = b"x" * (400 << 20); print("took", len(x))'`,
		"disk":   `head -c 1500M /dev/zero > /var/big && echo took; rc=$?; rm -f /var/big; exit $rc`,
	} {
		if r := host.inside(t, machine, script); r.code == 0 || strings.Contains(r.out, "took") {
			t.Errorf("a machine took more %s than its constraint:\n%s", what, r)
		}
	}
	r := host.inside(t, machine, `python3 -c '
import resource, subprocess
loops = [subprocess.Popen(["timeout", "2", "sh", "-c", "while :; do :; done"]) for _ in "ab"]
for loop in loops:
    loop.wait()
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)'`)
	if used, err := strconv.ParseFloat(strings.TrimSpace(r.out), 64); err != nil || used > 2.6 || used == 0 {
		t.Errorf("two loops of 2 s each used more than one core of a machine with one (%v):\n%s", err, r)
	}
	if !long() {
		return
	}
	if r := host.inside(t, machine, "apt-get update -q && apt-get install -q -y --no-install-recommends hello && hello"); r.code != 0 {
		t.Errorf("apt-get does not work in a machine:\n%s", r)
	}
}

func testRemove(t *testing.T) {
	host.ok(t, "remove-unit", "late/1", "--no-prompt")
	eventually(t, 30*time.Second, "the unit is gone", func() bool { return host.status(t).unit("late/1").Machine == "" })
	r := host.run("remove-application", "late", "small", "--no-prompt")
	if r.code != 0 {
		t.Fatal(r)
	}
	eventually(t, 40*time.Second, "applications and their machines are gone", func() bool {
		m := host.status(t)
		_, late := m.Applications["late"]
		_, small := m.Applications["small"]
		return !late && !small && len(m.Machines) == machinesInUse(m)
	})
	r = host.run("add-machine")
	id := strings.TrimSpace(strings.TrimPrefix(r.err, "created machine "))
	eventually(t, 30*time.Second, "a machine without units runs", func() bool { return host.status(t).Machines[id].Status.Current == "started" })
	host.ok(t, "remove-machine", id, "--no-prompt")
	eventually(t, 20*time.Second, "the machine is gone", func() bool { _, there := host.status(t).Machines[id]; return !there })
	if r := host.run("remove-machine", host.status(t).unit("ca/0").Machine, "--no-prompt"); r.code == 0 {
		t.Errorf("a machine with a unit was removed without --force:\n%s", r)
	}
}

func machinesInUse(m model) int {
	used := map[string]bool{}
	for _, a := range m.Applications {
		for _, u := range a.Units {
			used[u.Machine] = true
		}
	}
	return len(used)
}

// testStuckHook removes a unit whose last hook hangs: why names the hook, and
// force ends it.
func testStuckHook(t *testing.T) {
	host.ok(t, "deploy", "./tests/realm/testdata/probe", "stuck", "--config", "hang-stop=true")
	eventually(t, 60*time.Second, "the unit is active", func() bool { return host.status(t).unit("stuck/0").Workload.Current == "active" })
	host.settle(t, 1, "stuck")
	host.ok(t, "remove-unit", "stuck/0", "--no-prompt")
	var r result
	eventually(t, 20*time.Second, "why names the hook", func() bool {
		r = host.run("why", "stuck/0")
		return r.code == 0 && strings.Contains(r.out, "stop")
	})
	t.Log(r)
	host.ok(t, "remove-unit", "stuck/0", "--force", "--no-wait", "--no-prompt")
	eventually(t, 30*time.Second, "the unit is gone", func() bool { return host.status(t).unit("stuck/0").Machine == "" })
	host.ok(t, "remove-application", "stuck", "--no-prompt", "--force")
}

func testModel(t *testing.T) {
	host.ok(t, "add-model", "passing")
	host.ok(t, "deploy", "-m", "passing", "./tests/realm/testdata/probe")
	host.settle(t, 1, "probe")
	r := host.run("destroy-model", "passing", "--no-prompt")
	if r.code != 0 || !strings.Contains(r.err, "1 machine") || !strings.Contains(r.err, "1 application") {
		t.Errorf("it does not say what it waits for:\n%s", r)
	}
	if r := host.run("models"); strings.Contains(r.out, "passing") {
		t.Errorf("the model is still there:\n%s", r)
	}
	host.ok(t, "switch", "demo")
}

// testEnds takes controllers down in the other two ways: in good order with
// all models, and when nothing of them answers any more.
func testEnds(t *testing.T) {
	host.ok(t, "bootstrap", "localhost", "orderly", "--add-model", "work")
	host.ok(t, "add-machine")
	eventually(t, 30*time.Second, "the machine runs", func() bool { return host.status(t).Machines["0"].Status.Current == "started" })
	checkRefusal(t, host.run("destroy-controller", "orderly", "--no-prompt"), 1, "--destroy-all-models")
	r := host.run("destroy-controller", "orderly", "--destroy-all-models", "--no-prompt")
	if r.code != 0 || !strings.Contains(r.err, "1 machine(s)") {
		t.Errorf("it does not say what it waits for:\n%s", r)
	}
	checkNothing(t, "orderly")

	host.ok(t, "bootstrap", "localhost", "dead", "--add-model", "work")
	host.ok(t, "add-machine")
	eventually(t, 30*time.Second, "the machine runs", func() bool { return host.status(t).Machines["0"].Status.Current == "started" })
	controller := supervisor(t).ControllerPid
	kill(t, supervisorPid(t))
	kill(t, controller)
	checkRefusal(t, host.run("status"), 1)
	if r := host.run("kill-controller", "dead", "--no-prompt"); r.code != 0 {
		t.Error(r)
	}
	checkNothing(t, "dead")
}
