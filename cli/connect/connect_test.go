package connect_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/cli/clitest"
	"github.com/scarab-ops/scarab/cli/connect"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/store"
)

func target(address, ca string) session.Target {
	return session.Target{Addresses: []string{address}, CACert: ca, ControllerUUID: clitest.ControllerUUID, User: "admin", Secret: store.NewPassword(clitest.Password)}
}

func fake(t *testing.T) *clitest.Server {
	t.Helper()
	s, err := clitest.Start(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestAuthorityIsShownAndTrusted(t *testing.T) {
	s := fake(t)
	d := connect.New(connect.Config{Version: "3.6.12"})
	ca, err := d.Authority(context.Background(), s.Address)
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(ca) != strings.TrimSpace(s.CA) {
		t.Fatalf("another authority:\n%s", ca)
	}
	c, err := d.Dial(context.Background(), target(s.Address, ca))
	if err != nil {
		t.Fatal(err)
	}
	if c.Login().ControllerUUID != clitest.ControllerUUID || !c.Has("Client") || c.Has("Nothing") {
		t.Fatalf("login %+v", c.Login())
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// impostor is a server of which everything that clients say after a handshake is kept.
type impostor struct {
	address string
	mu      sync.Mutex
	heard   bytes.Buffer
}

func (i *impostor) text() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.heard.String()
}

func listen(t *testing.T, cfg *tls.Config) *impostor {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i := &impostor{address: l.Addr().String()}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(5 * time.Second))
				if cfg != nil {
					c = tls.Server(c, cfg)
				}
				data, _ := io.ReadAll(io.LimitReader(c, 1<<16))
				i.mu.Lock()
				i.heard.Write(data)
				i.mu.Unlock()
			}()
		}
	}()
	return i
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "juju-apiserver"}, DNSNames: []string{"juju-apiserver"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestNoCredentialOnUnsafeChannels(t *testing.T) {
	s := fake(t)
	cert := selfSigned(t)
	for name, cfg := range map[string]*tls.Config{
		"plain text":  nil,
		"self-signed": {Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13},
		"TLS 1.2":     {Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS12},
	} {
		t.Run(name, func(t *testing.T) {
			i := listen(t, cfg)
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			_, err := connect.New(connect.Config{Timeout: time.Second}).Dial(ctx, target(i.address, s.CA))
			if err == nil {
				t.Fatal("connected")
			}
			if heard := i.text(); strings.Contains(heard, clitest.Password) || strings.Contains(heard, "Login") || (cfg != nil && heard != "") {
				t.Fatalf("the impostor heard %q", heard)
			}
		})
	}
}

func TestWrongPasswordKeepsItsCode(t *testing.T) {
	s := fake(t)
	tgt := target(s.Address, s.CA)
	tgt.Secret = store.NewPassword("wrong")
	_, err := connect.New(connect.Config{}).Dial(context.Background(), tgt)
	if session.Code(err) != "unauthorized access" {
		t.Fatalf("error %v, code %q", err, session.Code(err))
	}
	var coded interface{ ErrorCode() string }
	if !errors.As(err, &coded) {
		t.Fatal("the code is lost")
	}
}
