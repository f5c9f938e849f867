package client_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/pki"
)

// A controller that is just ending takes connections and hangs up: that passes, and asking again may help.
func TestHangingUpIsNoAnswer(t *testing.T) {
	ca, err := pki.New(pki.Config{Controller: "11111111-1111-4111-8111-111111111111", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it binds, or fails at once
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.(*net.TCPConn).CloseWrite()
			buf := make([]byte, 64<<10)
			_, _ = c.Read(buf) // what the other side sends, so that the end is no reset
			_ = c.Close()
		}
	}()
	_, err = client.Dial(t.Context(), client.Config{Addresses: []string{l.Addr().String()}, CACert: string(ca.CertPEM()), Version: "3.6.12", DialTimeout: 5 * time.Second})
	var dial *client.DialError
	if !errors.As(err, &dial) || dial.Problem != client.Unreachable {
		t.Errorf("got %v", err)
	}
	_ = l.Close()
	<-done
}
