package container

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// probeEnv makes the test binary probe and say what it found.
const probeEnv = "SCARAB_TEST_PROBE"

func probeMain() {
	kind, why := Probe()
	os.Stdout.WriteString(string(kind) + ": " + strings.Join(why, "; "))
	os.Exit(0)
}

func TestProbe(t *testing.T) {
	if kind, why := Probe(); kind != IsolationContainer {
		t.Errorf("root has %s: %v", kind, why)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), probeEnv+"=1")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{}}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "not root") || strings.HasPrefix(string(out), string(IsolationContainer)) {
		t.Errorf("a plain user has %s, %v", out, err)
	}
}
