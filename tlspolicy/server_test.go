package tlspolicy

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestForeignServer dials OpenSSL with suites and versions that we refuse.
func TestForeignServer(t *testing.T) {
	cert, pool, err := selfTestCertificate()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, "key": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		args []string
		ok   bool
	}{
		{"any suite of 1.3", []string{"-tls1_3"}, true},
		{"AES-128 alone", []string{"-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"}, false},
		{"ChaCha20 alone", []string{"-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"}, false},
		{"1.2 alone", []string{"-tls1_2"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := openssl(t, append([]string{"-cert", filepath.Join(dir, "cert"), "-key", filepath.Join(dir, "key")}, c.args...))
			d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: Dial(DialConfig{Roots: pool, ServerName: selfTestName})}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			conn, err := d.DialContext(ctx, "tcp", addr)
			if err != nil {
				if c.ok || ctx.Err() != nil {
					t.Fatal(err)
				}
				return
			}
			defer conn.Close()
			suite := conn.(*tls.Conn).ConnectionState().CipherSuite
			if !c.ok || suite != tls.TLS_AES_256_GCM_SHA384 {
				t.Fatalf("negotiated %s", tls.CipherSuiteName(suite))
			}
		})
	}
}

// openssl starts a server and returns its address.
func openssl(t *testing.T, args []string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "openssl", append([]string{"s_server", "-accept", "127.0.0.1:0"}, args...)...)
	stdin, err := cmd.StdinPipe() // open, or it ends
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot check with a foreign server: %v", err)
	}
	t.Cleanup(func() {
		cancel()
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	for s := bufio.NewScanner(out); s.Scan(); {
		if addr, ok := strings.CutPrefix(s.Text(), "ACCEPT "); ok && addr != "" {
			return addr
		}
	}
	t.Fatal("openssl did not listen")
	return ""
}
