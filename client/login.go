package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/rpc"
	"github.com/scarab-ops/scarab/wire/admin"
)

// Credentials say who logs in. Agents also show a certificate (see Config).
type Credentials struct {
	Tag      names.Tag // user, machine or unit
	Password Secret    // or an agent's one-time token
	Nonce    string    // machines
	// Command is what the user typed, for the audit log; without secrets.
	Command string
}

// Login proves who we are and learns what the server offers. It is called
// once, before anything else.
func (c *Conn) Login(ctx context.Context, cr Credentials) (admin.LoginResult, error) {
	var r admin.LoginResult
	err := c.rpc.Call(ctx, "Admin", 3, "", "Login", admin.LoginRequest{
		AuthTag: cr.Tag.String(), Credentials: cr.Password.Reveal(), Nonce: cr.Nonce,
		ClientVersion: c.cfg.Version, CliArgs: cr.Command, BakeryVersion: 3,
	}, &r)
	if err != nil {
		return r, err
	}
	if len(r.DischargeRequired) > 0 || len(r.BakeryDischargeRequired) > 0 {
		return r, &rpc.Error{Message: "cannot log in: a password is needed", Code: CodeDischarge}
	}
	if c.cfg.Model != "" && r.ModelTag != c.cfg.Model.Tag().String() {
		return r, errors.New("cannot log in: the server answered for another model")
	}
	c.tag, c.nonce = cr.Tag.String(), cr.Nonce
	c.SetPassword(cr.Password)
	c.versions = map[string]int{}
	for _, f := range r.Facades {
		if v, ok := best(f.Name, f.Versions); ok {
			c.versions[f.Name] = v
		}
	}
	return r, nil
}

// SetPassword makes later HTTP requests of this connection use a new
// password, after an agent has replaced its one-time token.
func (c *Conn) SetPassword(p Secret) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.password = p
}

// ServerAddresses returns, as host:port, the addresses of a login that
// another host can use.
func ServerAddresses(r admin.LoginResult) []string {
	var out []string
	for _, server := range r.Servers {
		for _, hp := range server {
			if hp.Scope == "local-machine" || hp.Scope == "link-local" || hp.Port <= 0 || hp.Port > 65535 {
				continue
			}
			out = append(out, net.JoinHostPort(hp.Value, strconv.Itoa(hp.Port)))
		}
	}
	return out
}

// ControllerOf returns the controller that a login answered for.
func ControllerOf(r admin.LoginResult) (names.ControllerID, error) {
	id, err := names.Parse(r.ControllerTag, names.KindController)
	if err != nil {
		return "", fmt.Errorf("cannot read login: %v", err)
	}
	return names.ControllerID(id), nil
}
