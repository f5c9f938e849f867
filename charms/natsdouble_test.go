package charms

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"sync"
	"syscall"
)

// natsDouble is as much of a NATS server as the charms use, without clusters.
// It reads the charm's own configuration, so that a fault there shows.
type natsDouble struct {
	conf string
	mu   sync.Mutex
	subs map[string][]*natsConn
}

type natsConn struct {
	net.Conn
	mu sync.Mutex
}

func serveNATS(conf string) error {
	d := &natsDouble{conf: conf, subs: map[string][]*natsConn{}}
	signal.Ignore(syscall.SIGHUP)
	text, err := os.ReadFile(conf)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", value(string(text), "listen"))
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go d.handle(c)
	}
}

func value(conf, key string) string {
	m := regexp.MustCompile(`(?m)^\s*` + key + `: "([^"]*)"`).FindStringSubmatch(conf)
	if m == nil {
		return ""
	}
	return m[1]
}

// handle reads the configuration anew for each client, which serves for a
// reload.
func (d *natsDouble) handle(raw net.Conn) {
	defer raw.Close()
	data, err := os.ReadFile(d.conf)
	text := string(data)
	if err != nil || !strings.Contains(text, "verify_and_map: true") {
		return
	}
	fmt.Fprintf(raw, "INFO {\"tls_required\":true,\"max_payload\":1048576}\r\n")
	cert, err := tls.LoadX509KeyPair(value(text, "cert_file"), value(text, "key_file"))
	ca, err2 := os.ReadFile(value(text, "ca_file"))
	if errors.Join(err, err2) != nil {
		return
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	t := tls.Server(raw, &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	})
	if t.Handshake() != nil {
		return
	}
	allowed := false
	for _, name := range t.ConnectionState().PeerCertificates[0].DNSNames {
		allowed = allowed || strings.Contains(text, `{user: "`+name+`"`)
	}
	c := &natsConn{Conn: t}
	if !allowed {
		c.write("-ERR 'Authorization Violation'\r\n")
		return
	}
	d.talk(c)
}

func (c *natsConn) write(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = io.WriteString(c.Conn, s)
}

func (d *natsDouble) talk(c *natsConn) {
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		switch f[0] {
		case "PING":
			c.write("PONG\r\n")
		case "SUB":
			d.mu.Lock()
			d.subs[f[1]] = append(d.subs[f[1]], c)
			d.mu.Unlock()
		case "PUB":
			var n int
			if _, err := fmt.Sscan(f[2], &n); err != nil || n < 0 || n > 1<<20 {
				return
			}
			body := make([]byte, n+2)
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			d.mu.Lock()
			for _, s := range d.subs[f[1]] {
				s.write(fmt.Sprintf("MSG %s 1 %d\r\n%s", f[1], n, body))
			}
			d.mu.Unlock()
		}
	}
}
