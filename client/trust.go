package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// A DialError is a connection that did not come about, in words that say what
// is wrong and what to do. The cause stays below it.
type DialError struct {
	Problem Problem
	text    string
	now     time.Time
	err     error
}

// A Problem is what kind of thing is wrong.
type Problem int

// The kinds of problem, those that people must hear of first last.
const (
	Unreachable     Problem = iota // nobody answers
	NoController                   // something else does
	LeafExpired                    // the server's certificate ran out, or a clock is wrong
	AuthorityTime                  // the authority ran out or is not valid yet, or a clock is wrong
	ForeignIdentity                // the server is not vouched for by the authority
)

func (e *DialError) Error() string { return e.text }
func (e *DialError) Unwrap() error { return e.err }

// AdviceFor says what a person can do who knows the controller by a name.
func (e *DialError) AdviceFor(name string) string {
	clock := "see whether the clock of this machine is right, it says " + stamp(e.now)
	switch e.Problem {
	case ForeignIdentity:
		return "somebody may be posing as the controller; ask its administrator for the fingerprint of its authority, and only if it has a new one: " +
			"scarab login -c " + name + " --trust-new-ca"
	case AuthorityTime:
		return clock + "; if it is, the controller's administrator must renew the authority, and then: scarab login -c " + name + " --trust-new-ca"
	case LeafExpired:
		return clock + ", and that of the controller's host; the controller renews its certificate by itself"
	case NoController:
		return "see whether the address and the port are those of the controller"
	case Unreachable:
	}
	return "see whether the controller's host runs and can be reached; if the controller is gone for good: scarab unregister " + name
}

// worst joins what went wrong at each address; the gravest decides what to do.
func worst(errs []error) error {
	var out *DialError
	var texts []string
	for _, err := range errs {
		var e *DialError
		if !errors.As(err, &e) {
			return err
		}
		texts = append(texts, e.text)
		if out == nil || e.Problem > out.Problem {
			out = e
		}
	}
	return &DialError{out.Problem, strings.Join(texts, "; "), out.now, errors.Join(errs...)}
}

// explain turns the error of one address into words.
func (c *Config) explain(address string, err error) error {
	e := &DialError{Unreachable, "", c.now(), err}
	say := func(p Problem, format string, args ...any) error {
		e.Problem, e.text = p, address+": "+fmt.Sprintf(format, args...)
		return e
	}
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var slow net.Error
	var errno syscall.Errno
	var dns *net.DNSError
	switch {
	case errors.As(err, &host):
		return say(ForeignIdentity, "its certificate is not for %s", c.ServerName)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && !c.lapsed(e.now):
		return say(LeafExpired, "its certificate is valid from %s to %s only", stamp(invalid.Cert.NotBefore), stamp(invalid.Cert.NotAfter))
	case errors.As(err, &unknown) || errors.As(err, &invalid):
		if ca := c.authority(); ca != nil && c.lapsed(e.now) {
			return say(AuthorityTime, "the authority (CA) of the controller is valid from %s to %s only", stamp(ca.NotBefore), stamp(ca.NotAfter))
		}
		return say(ForeignIdentity, "it is not vouched for by the authority (CA) that this client knows")
	case errors.As(err, &record) || errors.As(err, &alert) || errors.Is(err, http.ErrSchemeMismatch):
		return say(NoController, "what answers there speaks no TLS as a controller does")
	case errors.As(err, &dns):
		return say(Unreachable, "no such host")
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &slow) && slow.Timeout():
		return say(Unreachable, "no answer within %s", c.DialTimeout)
	case errors.As(err, &errno):
		return say(Unreachable, "%v", errno)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return say(Unreachable, "it hung up") // as one that is just ending or beginning does
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return say(NoController, "it does not answer as a controller does: %v", err)
}

// authority is the certificate that is trusted alone, if there is one.
func (c *Config) authority() *x509.Certificate {
	block, _ := pem.Decode([]byte(c.CACert))
	if block == nil {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return cert
}

// lapsed tells whether the authority is not valid at this time.
func (c *Config) lapsed(now time.Time) bool {
	ca := c.authority()
	return ca != nil && (now.After(ca.NotAfter) || now.Before(ca.NotBefore))
}

func (c *Config) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
