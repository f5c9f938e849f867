package machine

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/scarab-ops/scarab/agent/unit"
	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/pki"
)

const (
	minRedial = time.Second
	maxRedial = time.Minute
	callTime  = 2 * time.Minute
	pingEvery = 50 * time.Second
	// renewFloor keeps a certificate that cannot be renewed from being asked
	// for without pause.
	renewFloor = 30 * time.Second
)

// link is one agent's connection to the controller, made again whenever it
// ends. It owns the agent's identity: its file, key, certificate, password.
type link struct {
	path    string // of the agent's file
	version string
	log     func(level, format string, v ...any)

	turn chan struct{} // held while connecting
	mu   sync.Mutex
	conf conf
	conn *client.Conn
	cert *tls.Certificate
	wait time.Duration // before the next dial
	stop context.CancelFunc
	keep sync.WaitGroup
}

func newLink(path, version string, log func(level, format string, v ...any)) (*link, error) {
	c, err := readConf(path)
	if err != nil {
		return nil, err
	}
	l := &link{path: path, version: version, log: log, conf: c, turn: make(chan struct{}, 1)}
	if c.Certificate != "" {
		if err := l.useCertificate(c.Certificate); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *link) useCertificate(chain string) error {
	cert, err := l.check(chain)
	if err != nil {
		return err
	}
	l.use(cert)
	return nil
}

// check takes a certificate for the agent's own key only.
func (l *link) check(chain string) (*tls.Certificate, error) {
	key, err := pki.ParseKey([]byte(l.conf.Key))
	if err != nil {
		return nil, err
	}
	return pki.TLSCertificate([]byte(chain), key)
}

func (l *link) use(cert *tls.Certificate) {
	l.mu.Lock()
	l.cert = cert
	l.mu.Unlock()
}

// get returns the connection, made and logged in if need be. It waits longer
// after each failure.
func (l *link) get(ctx context.Context) (*client.Conn, error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	if c := l.current(); c != nil {
		return c, nil
	}
	if l.wait > 0 {
		if err := pause(ctx, spread(l.wait)); err != nil {
			return nil, err
		}
	}
	conn, err := l.connect(ctx)
	if err != nil {
		l.wait = min(max(2*l.wait, minRedial), maxRedial)
		return nil, err
	}
	l.wait = minRedial // a connection that ends at once is not dialled at once
	l.adopt(conn)
	return conn, nil
}

// adopt keeps a connection alive and its certificate fresh until it ends.
func (l *link) adopt(conn *client.Conn) {
	ctx, stop := context.WithCancel(context.Background())
	l.mu.Lock()
	l.conn, l.stop = conn, stop
	l.mu.Unlock()
	l.keep.Go(func() {
		if err := conn.KeepAlive(ctx, pingEvery); err != nil {
			_ = conn.Close()
		}
	})
	l.keep.Go(func() { l.renewals(ctx, conn) })
}

func (l *link) current() *client.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return nil
	}
	select {
	case <-l.conn.Done():
		l.stop()
		l.conn = nil
	default:
	}
	return l.conn
}

// close ends the connection for good.
func (l *link) close() {
	l.mu.Lock()
	if l.conn != nil {
		l.stop()
		_ = l.conn.Close()
		l.conn = nil
	}
	l.mu.Unlock()
	l.keep.Wait()
}

// connect logs in, after enrolment where there is no certificate yet and after
// renewal where it has run out.
func (l *link) connect(ctx context.Context) (*client.Conn, error) {
	if err := l.prepare(); err != nil {
		return nil, err
	}
	if l.certificate() == nil {
		if err := l.enrol(ctx); err != nil {
			return nil, fmt.Errorf("cannot enrol: %w", err)
		}
	}
	if time.Now().After(l.certificate().Leaf.NotAfter) { //nolint:forbidigo // a certificate's life
		l.log("WARNING", "the certificate has run out, asking for a new one")
		conn, err := l.login(ctx, l.conf.Password)
		if err != nil {
			return nil, err
		}
		err = l.renew(ctx, conn)
		_ = conn.Close()
		if err != nil {
			return nil, err
		}
	}
	return l.login(ctx, l.conf.Password)
}

func (l *link) certificate() *tls.Certificate {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cert
}

// prepare makes what is this agent's alone, and has it on disk before anybody
// hears of it.
func (l *link) prepare() error {
	if l.conf.Key != "" && l.conf.Password != "" {
		return nil
	}
	key, err := pki.NewKey(pki.ECDSAP384)
	if err != nil {
		return err
	}
	text, err := key.RevealPEM()
	if err != nil {
		return err
	}
	var p [32]byte
	if _, err := rand.Read(p[:]); err != nil {
		return err
	}
	c := l.conf
	c.Key, c.Password = secret(text), secret(base64.StdEncoding.EncodeToString(p[:]))
	return l.save(c)
}

func (l *link) save(c conf) error {
	if err := c.write(l.path); err != nil {
		return err
	}
	l.conf = c
	return nil
}

func (l *link) login(ctx context.Context, password secret) (*client.Conn, error) {
	tag, err := names.ParseTag(l.conf.Tag)
	if err != nil {
		return nil, err
	}
	conn, err := client.Dial(ctx, client.Config{
		Addresses: l.conf.APIAddresses, CACert: l.conf.CACert, Model: names.Model(l.conf.Model), Version: l.version,
		Certificate: func() (*tls.Certificate, error) {
			if c := l.certificate(); c != nil {
				return c, nil
			}
			return &tls.Certificate{}, nil
		},
	})
	if err != nil {
		return nil, err
	}
	lctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	r, err := conn.Login(lctx, client.Credentials{Tag: tag, Password: client.NewSecret(string(password)), Nonce: l.conf.Nonce})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	l.addresses(client.ServerAddresses(r))
	return conn, nil
}

// addresses remembers where the controllers are.
func (l *link) addresses(list []string) {
	slices.Sort(list)
	list = slices.Compact(list)
	if len(list) == 0 || slices.Equal(list, l.conf.APIAddresses) {
		return
	}
	// The address that answered stays: the server may not know how it is
	// reached from here.
	for _, old := range l.conf.APIAddresses {
		if !slices.Contains(list, old) && len(list) < 32 {
			list = append(list, old)
		}
	}
	if slices.Equal(list, l.conf.APIAddresses) {
		return
	}
	c := l.conf
	c.APIAddresses = list
	if err := l.save(c); err != nil {
		l.log("WARNING", "cannot remember the controllers' addresses: %v", err)
	}
}

// enrol trades the one-time token for a certificate. It is repeated with the
// same token, key and password until it succeeds. A token that is used up may
// have been used by us, the answer having been lost: then the password, with
// proof of the key, asks for the certificate again.
func (l *link) enrol(ctx context.Context) error {
	if l.conf.Token == "" {
		return errors.New("there is neither a certificate nor a token: the machine has to be enrolled again by an operator")
	}
	conn, err := l.login(ctx, l.conf.Token)
	if client.Code(err) == client.CodeUnauthorized {
		if conn, perr := l.login(ctx, l.conf.Password); perr == nil {
			perr = l.renew(ctx, conn)
			_ = conn.Close()
			return perr
		}
	}
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	csr, err := l.csr()
	if err != nil {
		return err
	}
	cctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	r, err := conn.Enrol(cctx, csr, client.NewSecret(string(l.conf.Password)))
	if err != nil {
		return err
	}
	return l.accept(r.Certificate)
}

func (l *link) csr() ([]byte, error) {
	key, err := pki.ParseKey([]byte(l.conf.Key))
	if err != nil {
		return nil, err
	}
	return pki.NewCSR(key)
}

// accept keeps a certificate, and uses it only once it is on the disk: the
// first login with it ends the one-time token, and an agent that then forgot
// the certificate could never come back.
func (l *link) accept(chain string) error {
	cert, err := l.check(chain)
	if err != nil {
		return err
	}
	c := l.conf
	c.Certificate, c.Token = chain, ""
	if err := l.save(c); err != nil {
		return err
	}
	l.use(cert)
	return nil
}

func (l *link) renew(ctx context.Context, conn *client.Conn) error {
	csr, err := l.csr()
	if err != nil {
		return err
	}
	cctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	r, err := conn.Renew(cctx, csr)
	if err != nil {
		return fmt.Errorf("cannot renew certificate: %w", err)
	}
	return l.accept(r.Certificate)
}

// renewals renews at two thirds of the certificate's life, not all agents at
// once.
func (l *link) renewals(ctx context.Context, conn *client.Conn) {
	for {
		leaf := l.certificate().Leaf
		life := leaf.NotAfter.Sub(leaf.NotBefore)
		at := pki.RenewAt(leaf).Add(spread(life/20) - life/25)
		if pause(ctx, max(time.Until(at), renewFloor)) != nil {
			return
		}
		select {
		case l.turn <- struct{}{}:
		case <-ctx.Done():
			return
		}
		err := l.renew(ctx, conn)
		<-l.turn
		if err != nil && ctx.Err() == nil {
			l.log("WARNING", "%v", err)
		}
	}
}

// call runs one call on the connection. What the controller answers is a
// *unit.RefusedError; all else is trouble on the way, and ends the connection.
func (l *link) call(ctx context.Context, f func(context.Context, *client.Conn) error) error {
	conn, err := l.get(ctx)
	if err != nil {
		return err
	}
	cctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	err = f(cctx, conn)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return l.classify(conn, cctx, err)
}

func (l *link) classify(conn *client.Conn, ctx context.Context, err error) error {
	switch client.Code(err) {
	case client.CodeTryAgain, client.CodeStopped:
		return err
	case "":
		if ctx.Err() != nil { // no answer in time
			_ = conn.Close()
			return err
		}
		select {
		case <-conn.Done():
			return err
		case <-time.After(100 * time.Millisecond): //nolint:forbidigo // the end of a connection is noticed by two
		}
	}
	return &unit.RefusedError{Err: err}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// spread is d with jitter, 80 to 120 percent.
func spread(d time.Duration) time.Duration {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return d*4/5 + time.Duration(float64(d)*0.4*float64(binary.BigEndian.Uint32(b[:]))/(1<<32))
}

// snapshot is the identity as it is now.
func (l *link) snapshot() conf {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	return l.conf
}

// remember keeps the controllers' addresses for the next start.
func (l *link) remember(addresses []string) {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	l.addresses(append([]string{}, addresses...))
}
