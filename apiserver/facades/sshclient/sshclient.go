// Package sshclient serves the facade SSHClient: where machines and units can
// be reached, and which host keys they have, so that a client can tell the
// right machine from another. Only admins of a model may ask.
package sshclient

import (
	"fmt"
	"net/netip"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/refuse"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	wiressh "github.com/scarab-ops/scarab/wire/sshclient"
)

// A Service is what the facade needs: nothing but the call's own state.
type Service struct{}

// Endpoints binds the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) {
	admin := authz.OnModel(authz.Admin).Reads().During(authz.Upgrading | authz.Migrating)
	return facade.Bind(facade.Facade[Service]{Name: "SSHClient", Version: 4, Methods: []facade.Method[Service]{
		facade.None("Proxy", admin, proxy),
		facade.Each("AllAddresses", admin, wiressh.AllAddressesShape, allAddresses),
		facade.Each("PublicAddress", admin, wiressh.PublicAddressShape, address),
		facade.Each("PrivateAddress", admin, wiressh.PrivateAddressShape, address),
		facade.Each("PublicKeys", admin, wiressh.PublicKeysShape, publicKeys),
		refuse.Method[Service]("ModelCredentialForSSH", admin, "cannot give out a cloud credential: the clouds of this release need none"),
	}}, s)
}

func proxy(Service, facade.Call) (wiressh.SSHProxyResult, error) {
	return wiressh.SSHProxyResult{UseProxy: false}, nil
}

type codedError struct{ text, code string }

func (e *codedError) Error() string { return e.text }
func (e *codedError) Code() string  { return e.code }

// host is the machine of a tag.
func host(c facade.Call, tag string) (names.Machine, error) {
	s := model.ScopeOf(c.Caller.Model)
	t, err := names.ParseTag(tag)
	if err != nil {
		return "", &facade.BadRequest{Reason: err.Error()}
	}
	id := names.Machine(t.ID)
	switch t.Kind {
	case names.KindUnit:
		u, err := unit.Get(c.View(), s, names.Unit(t.ID))
		if err != nil {
			return "", err
		}
		if id = u.Machine; id == "" {
			return "", &codedError{fmt.Sprintf("unit %q is not assigned to a machine", t.ID), "not assigned"}
		}
	case names.KindMachine:
	default:
		return "", &facade.BadRequest{Reason: fmt.Sprintf("%.80q is the tag of neither unit nor machine", tag)}
	}
	_, err = machine.Get(c.View(), s, id)
	return id, err
}

func addresses(c facade.Call, tag string) ([]string, error) {
	id, err := host(c, tag)
	if err != nil {
		return nil, err
	}
	s := model.ScopeOf(c.Caller.Model)
	out := []string{}
	add := func(a string) {
		if ip, err := netip.ParseAddr(a); err == nil && (ip.IsLoopback() || ip.IsLinkLocalUnicast()) {
			return
		}
		for _, have := range out {
			if have == a {
				return
			}
		}
		out = append(out, a)
	}
	if best := machine.Address(c.View(), s, id); best != "" {
		add(best)
	}
	if seen, err := machine.Seen.Get(c.View(), s, string(id)); err == nil {
		for _, a := range seen.Addresses {
			add(a.Value)
		}
	}
	if len(out) == 0 {
		return nil, &codedError{fmt.Sprintf("no address of machine %s is known yet", string(id)), "no address set"}
	}
	return out, nil
}

func allAddresses(_ Service, c facade.Call, e wire.Entity) (wiressh.SSHAddressesResult, error) {
	all, err := addresses(c, e.Tag)
	return wiressh.SSHAddressesResult{Addresses: all}, err
}

func address(_ Service, c facade.Call, e wire.Entity) (wiressh.SSHAddressResult, error) {
	all, err := addresses(c, e.Tag)
	if err != nil {
		return wiressh.SSHAddressResult{}, err
	}
	return wiressh.SSHAddressResult{Address: all[0]}, nil
}

func publicKeys(_ Service, c facade.Call, e wire.Entity) (wiressh.SSHPublicKeysResult, error) {
	id, err := host(c, e.Tag)
	if err != nil {
		return wiressh.SSHPublicKeysResult{}, err
	}
	seen, err := machine.Seen.Get(c.View(), model.ScopeOf(c.Caller.Model), string(id))
	if err != nil || len(seen.HostKeys) == 0 {
		return wiressh.SSHPublicKeysResult{}, &codedError{fmt.Sprintf("host keys of machine %s not found: it has not reported any yet", string(id)), "not found"}
	}
	return wiressh.SSHPublicKeysResult{PublicKeys: seen.HostKeys}, nil
}
