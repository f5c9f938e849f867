package container

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// crashEnv holds the configuration of a supervisor to be killed: TestMain
// becomes one when it is set.
const crashEnv = "SCARAB_TEST_SUPERVISOR"

type crashConfig struct {
	Config Config
	Root   string
	Count  int
	Churn  bool
}

func supervisorMain(text string) {
	var c crashConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		panic(err)
	}
	c.Config.Log, c.Config.Now = Defaults().Log, Defaults().Now
	r, err := New(c.Config)
	if err != nil {
		panic(err)
	}
	for i := 0; i < c.Count || c.Churn; i++ {
		fmt.Println("making", i)
		s := plain(c.Root, fmt.Sprint(i%4))
		s.Limits.DiskMiB = 64 * int64(i%2)
		m, err := r.Create(context.Background(), s)
		if err != nil {
			panic(err)
		}
		if c.Churn && i%2 == 1 {
			fmt.Println("removing", i)
			if err := r.Destroy(context.Background(), m.ID); err != nil {
				panic(err)
			}
		}
	}
	fmt.Println("done")
	select {}
}

func startSupervisor(t *testing.T, c crashConfig) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), crashEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

func killHard(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as wanted
}

// traces lists what a local cloud can leave on a host.
func traces(t *testing.T) []string {
	t.Helper()
	var out []string
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "sct") {
			out = append(out, "link "+l.Attrs().Name)
		}
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := c.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, tb := range tables {
		if tb.Name == "scarabtest" {
			out = append(out, "table "+tb.Name)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "/machines/") {
			out = append(out, "mount "+line)
		}
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "scarabtest" {
			out = append(out, "cgroup "+p)
		}
		return nil
	})
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, l := range loops {
		if data, err := os.ReadFile(l); err == nil && strings.Contains(string(data), "/machines/") {
			out = append(out, "loop "+string(data))
		}
	}
	forward, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, "ip_forward "+string(forward))
}

func TestMachinesSurviveTheSupervisor(t *testing.T) {
	root := testRoot(t)
	cfg := testConfig(t)
	before := traces(t)
	cmd, lines := startSupervisor(t, crashConfig{Config: cfg, Root: root, Count: 2})
	for lines.Scan() && lines.Text() != "done" {
	}
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "another supervisor") {
		t.Errorf("a second supervisor: %v", err)
	}
	killHard(t, cmd)
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	list := r.List()
	if len(list) != 2 || list[0].State != StateRunning || list[1].State != StateRunning {
		t.Fatalf("adopted %+v", list)
	}
	for _, m := range list {
		if got := sh(t, r, m.ID, "hostname"); got != m.Hostname {
			t.Errorf("machine %s is %s", m.ID, got)
		}
		if again := create(t, r, plain(root, m.Key)); again.Pid != m.Pid {
			t.Errorf("the key gave process %d, want %d", again.Pid, m.Pid)
		}
	}
	// A machine that dies comes back with its files.
	m := list[0]
	sh(t, r, m.ID, "echo kept > /root/kept")
	_, _ = r.Exec(context.Background(), m.ID, []string{"/bin/sh", "-c", "kill -TERM 1"}, nil, nil, nil)
	waitFor(t, "the machine's return", 20*time.Second, func() bool {
		now, err := r.Get(m.ID)
		return err == nil && now.State == StateRunning && now.Pid != m.Pid
	})
	if got := sh(t, r, m.ID, "cat /root/kept"); got != "kept" {
		t.Errorf("after its return the machine has %q", got)
	}
	clearAll(t, r, before)
}

// clearAll removes all and expects the host to be as it was.
func clearAll(t *testing.T, r *Runtime, before []string) {
	t.Helper()
	for _, m := range r.List() {
		if err := r.Destroy(context.Background(), m.ID); err != nil {
			t.Error(err)
		}
	}
	if err := r.Teardown(); err != nil {
		t.Error(err)
	}
	r.Close()
	var after []string
	waitFor(t, "the kernel to finish", 10*time.Second, func() bool {
		after = traces(t)
		return slices.Equal(before, after) || len(after) <= len(before)
	})
	if !slices.Equal(before, after) {
		t.Errorf("left behind: %q, before %q", after, before)
	}
}

func TestKilledAtAnyPoint(t *testing.T) {
	root := testRoot(t)
	before := traces(t)
	for i := range 12 {
		cfg := testConfig(t)
		cmd, lines := startSupervisor(t, crashConfig{Config: cfg, Root: root, Churn: true})
		for n := 0; n <= i/3 && lines.Scan(); n++ {
		}
		// From here on the moment is as good as random; spread it on purpose.
		timer := time.NewTimer(time.Duration(i*7%40) * time.Millisecond)
		<-timer.C
		killHard(t, cmd)
		r, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range r.List() {
			if m.State != StateRunning {
				t.Errorf("round %d: adopted %s, which is %s", i, m.ID, m.State)
			}
		}
		clearAll(t, r, before)
	}
}
