package tlspolicy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestSelfTest(t *testing.T) {
	if err := SelfTest(); err != nil {
		t.Fatal(err)
	}
}

// TestSelfTestCanFail puts Go's own lists back, as a release that ignored the
// override would, and wants the refusal. It must not run in parallel.
func TestSelfTestCanFail(t *testing.T) {
	defer force()
	defaultCipherSuitesTLS13 = []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384}
	defaultCipherSuitesTLS13NoAES = defaultCipherSuitesTLS13
	if err := SelfTest(); err == nil {
		t.Fatal("the self-test passed with AES-128 first")
	}
}

// start runs a Listener with the client port's configuration.
func start(t *testing.T, cfg ListenConfig) *Listener {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.TLS == nil {
		cert, pool, err := selfTestCertificate()
		if err != nil {
			t.Fatal(err)
		}
		cfg.TLS = ClientPort(func() (*tls.Certificate, error) { return cert, nil }, pool)
	}
	cfg.Inner = inner
	l, err := NewListener(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run did not return")
		}
	})
	return l
}

// TestForeignClient lets OpenSSL choose suites that we must refuse.
func TestForeignClient(t *testing.T) {
	l := start(t, ListenConfig{})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	for _, c := range []struct {
		name string
		args []string
		want string // the suite, or empty for refusal
	}{
		{"1.3 default", []string{"-tls1_3"}, "TLS_AES_256_GCM_SHA384"},
		{"1.3 AES-256", []string{"-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"}, "TLS_AES_256_GCM_SHA384"},
		{"1.3 prefers AES-128", []string{"-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"}, "TLS_AES_256_GCM_SHA384"},
		{"1.3 only AES-128", []string{"-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"}, ""},
		{"1.3 only ChaCha20", []string{"-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"}, ""},
		{"1.2 AES-256-GCM", []string{"-tls1_2"}, "ECDHE-ECDSA-AES256-GCM-SHA384"},
		{"1.2 AES-128-GCM", []string{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"}, ""},
		{"1.2 CBC", []string{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA"}, ""},
		{"1.1", []string{"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}, ""},
		{"1.0", []string{"-tls1", "-cipher", "ALL:@SECLEVEL=0"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, "openssl", append([]string{"s_client", "-connect", l.Addr().String()}, c.args...)...)
			cmd.Stdin = strings.NewReader("")
			out, err := cmd.CombinedOutput()
			if errors.Is(err, exec.ErrNotFound) {
				t.Fatal("cannot check with a foreign client: install openssl")
			}
			text := string(out)
			if c.want != "" {
				if !strings.Contains(text, "Cipher is "+c.want) {
					t.Fatalf("did not negotiate %s:\n%s", c.want, text)
				}
				return
			}
			if !strings.Contains(text, "Cipher is (NONE)") {
				t.Fatalf("was not refused:\n%s", text)
			}
		})
	}
}

func TestSilentClientsAreCut(t *testing.T) {
	l := start(t, ListenConfig{HandshakeTimeout: 100 * time.Millisecond})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
		t.Fatalf("a silent client got %v, want the end of the connection", err)
	}
}

func TestLimitPerSource(t *testing.T) {
	var refused atomic.Int64
	l := start(t, ListenConfig{PendingPerSource: 2, HandshakeTimeout: 5 * time.Second, Refused: func(_ netip.Prefix, why error) {
		if errors.Is(why, errTooManyOfASource) {
			refused.Add(1)
		}
	}})
	var conns []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	if err := conns[2].SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conns[2].Read(make([]byte, 1)); err == nil {
		t.Fatal("the third unfinished handshake was not refused")
	}
	if refused.Load() != 1 {
		t.Fatalf("%d refused, want 1", refused.Load())
	}
	// The slots come back when the silent ones go.
	conns[0].Close()
	conns[1].Close()
	deadline := time.Now().Add(5 * time.Second)
	for {
		l.mu.Lock()
		n := l.total + len(l.sources)
		l.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d slots are still held", n)
		}
		time.Sleep(time.Millisecond) // poll for the condition above
	}
}

func TestSourceOf(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7:1": "192.0.2.7/32", "[2001:db8::1]:2": "2001:db8::/64", "[::ffff:192.0.2.7]:3": "192.0.2.7/32",
	} {
		ap := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))
		if got := sourceOf(ap).String(); got != want {
			t.Errorf("sourceOf(%s) = %s, want %s", addr, got, want)
		}
	}
}

func TestAgentCertificateNeedsTLS13(t *testing.T) {
	cert, pool, err := selfTestCertificate()
	if err != nil {
		t.Fatal(err)
	}
	get := func() (*tls.Certificate, error) { return cert, nil }
	old := Dial(DialConfig{Roots: pool, ServerName: selfTestName, Certificate: get})
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	why := make(chan error, 1)
	l := start(t, ListenConfig{TLS: ClientPort(get, pool), Refused: func(_ netip.Prefix, err error) { why <- err }})
	conn, err := tls.Dial("tcp", l.Addr().String(), old)
	if err == nil {
		conn.Close()
		t.Fatal("a client certificate was taken over TLS 1.2")
	}
	select {
	case err := <-why:
		if !strings.Contains(err.Error(), "agents speak TLS 1.3") {
			t.Fatalf("refused for %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("nothing was refused")
	}
}
