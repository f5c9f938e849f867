package controller

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/scarab-ops/scarab/apiserver"
	"github.com/scarab-ops/scarab/apiserver/http/charms"
	"github.com/scarab-ops/scarab/apiserver/http/logs"
	"github.com/scarab-ops/scarab/apiserver/http/route"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/tlspolicy"
	"github.com/scarab-ops/scarab/wire/admin"
)

// certificate is the server's certificate of the moment. It is made in memory
// at each start and renewed at two thirds of its life; it is never stored.
type certificate struct {
	now atomic.Pointer[tls.Certificate]
}

func (c *certificate) get() (*tls.Certificate, error) { return c.now.Load(), nil }

func (p *parts) server() (*apiserver.Server, error) {
	if err := p.issue(); err != nil {
		return nil, err
	}
	p.networks = newNetworks(p.cfg.Log)
	p.networks.set(p.row)
	endpoints, err := p.facades()
	if err != nil {
		return nil, err
	}
	return apiserver.New(apiserver.Config{
		Listeners: p.networks.guard(p.cfg.Listeners),
		TLS:       tlspolicy.ClientPort(p.cert.get, p.keys.ca.Pool()),
		Now:       p.cfg.Now, Log: p.cfg.Log, Store: p.store, Grants: grantsOf, Auth: p.auth,
		Authority: p.keys.ca, Endpoints: endpoints, Routes: p.routes(), Connected: p.connected,
		Controller: p.row.UUID, ControllerModel: p.row.Model, ServerVersion: ServerVersion,
		Servers: func() [][]admin.HostPort { return hostPorts(p.row.APIAddresses) }, Limits: p.cfg.Limits,
	})
}

func (p *parts) routes() []route.Route {
	rs := charms.Routes(charms.Config{Service: charmService{}, Blobs: p.blobs})
	return append(rs, logs.Routes(logs.Config{
		Store: p.logs, ControllerModel: p.row.Model,
		Hosts: func(r state.Reader, m names.Model, mc names.Machine, u names.Unit) bool {
			row, err := unit.Get(r, model.ScopeOf(m), u)
			return err == nil && row.Machine == mc
		},
	})...)
}

// issue makes a fresh server certificate for the addresses of the controller.
func (p *parts) issue() error {
	req := pki.ServerRequest{}
	for _, a := range append(p.row.APIAddresses, p.row.AgentAddresses...) {
		host, _, err := net.SplitHostPort(a)
		if err != nil {
			return fmt.Errorf("cannot read the controller's address %q: %w", a, err)
		}
		if ip, err := netip.ParseAddr(host); err == nil {
			req.IPs = append(req.IPs, ip)
		} else {
			req.Names = append(req.Names, host)
		}
	}
	issued, err := p.keys.ca.IssueServer(req)
	if err != nil {
		return err
	}
	c, err := issued.TLS()
	if err != nil {
		return err
	}
	p.cert.now.Store(c)
	return nil
}

// renew replaces the server certificate in time, and sooner again if it cannot.
func (p *parts) renew(ctx context.Context) error {
	for {
		wait := pki.RenewAt(p.cert.now.Load().Leaf).Sub(p.cfg.Now())
		timer := time.NewTimer(max(wait, time.Minute))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		if err := p.issue(); err != nil {
			p.cfg.Log.Error("cannot renew the server certificate", "error", err)
		}
	}
}

// hostPorts tells clients where the controller is. An address is never called
// machine-local, not even 127.0.0.1: clients drop such ones and then have none.
func hostPorts(addresses []string) [][]admin.HostPort {
	var out []admin.HostPort
	for _, a := range addresses {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			continue
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			continue
		}
		hp := admin.HostPort{Value: host, Type: "hostname", Scope: "local-cloud", Port: n}
		if ip, err := netip.ParseAddr(host); err == nil {
			hp.Type = "ipv4"
			if ip.Is6() {
				hp.Type = "ipv6"
			}
		}
		out = append(out, hp)
	}
	return [][]admin.HostPort{out}
}
