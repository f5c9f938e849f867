package client_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/client"
)

// TestDialSaysWhatIsWrong spoils one thing at a time.
func TestDialSaysWhatIsWrong(t *testing.T) {
	s, other := start(t), start(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	in := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		change       func(*client.Config)
		problem      client.Problem
		text, advice string
	}{
		"nobody": {func(c *client.Config) { c.Addresses = []string{nobody} }, client.Unreachable, nobody + ": connection refused", "scarab unregister prod"},
		"silent": {func(c *client.Config) {
			c.Addresses, c.DialTimeout = []string{silent.Addr().String()}, 100*time.Millisecond
		}, client.Unreachable, "no answer within 100ms", "can be reached"},
		"unknown host":        {func(c *client.Config) { c.Addresses = []string{"host.invalid:17070"} }, client.Unreachable, "host.invalid:17070: ", "can be reached"},
		"plain text":          {func(c *client.Config) { c.Addresses = []string{plain.Listener.Addr().String()} }, client.NoController, "speaks no TLS", "port"},
		"foreign authority":   {func(c *client.Config) { c.CACert = string(other.ca.CertPEM()) }, client.ForeignIdentity, "not vouched for", "scarab login -c prod --trust-new-ca"},
		"another name":        {func(c *client.Config) { c.ServerName = "elsewhere.example.com" }, client.ForeignIdentity, "not for elsewhere.example.com", "posing"},
		"certificate ran out": {func(c *client.Config) { c.Now = in(3 * day) }, client.LeafExpired, "its certificate is valid from", "clock of this machine"},
		"authority ran out":   {func(c *client.Config) { c.Now = in(11 * 365 * day) }, client.AuthorityTime, "the authority (CA) of the controller is valid from", "clock of this machine"},
		"authority not yet":   {func(c *client.Config) { c.Now = in(-2 * day) }, client.AuthorityTime, "the authority (CA) of the controller is valid from", "renew the authority"},
		"the gravest of two":  {func(c *client.Config) { c.CACert, c.Addresses = string(other.ca.CertPEM()), []string{nobody, s.addr} }, client.ForeignIdentity, nobody + ": connection refused; ", "posing"},
		"foreign and ran out": {func(c *client.Config) { c.CACert, c.Now = string(other.ca.CertPEM()), in(11*365*day) }, client.AuthorityTime, "is valid from", "clock of this machine"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.dial(t, c.change)
			var e *client.DialError
			if !errors.As(err, &e) {
				t.Fatalf("error %v", err)
			}
			if e.Problem != c.problem || !strings.Contains(err.Error(), c.text) || !strings.Contains(e.AdviceFor("prod"), c.advice) {
				t.Errorf("problem %d: %v\nadvice: %s", e.Problem, err, e.AdviceFor("prod"))
			}
			if strings.Contains(err.Error(), "x509:") || strings.Contains(err.Error(), "WebSocket") {
				t.Errorf("it talks of its own parts: %v", err)
			}
		})
	}
}
