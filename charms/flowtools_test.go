package charms

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatal("no TCP address")
	}
	return addr.Port
}

func itoa(n int) string { return strconv.Itoa(n) }

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return string(out)
}

func writeCertificate(t *testing.T, answer, path string) {
	t.Helper()
	var a struct{ Certificate string }
	if err := json.Unmarshal([]byte(answer), &a); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(a.Certificate), 0o600); err != nil {
		t.Fatal(err)
	}
}

func realServer() bool {
	_, err := os.Stat("/usr/sbin/nats-server")
	return err == nil && os.Getenv("FAKE_NATS") == ""
}
