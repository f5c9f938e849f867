package main

import (
	"context"
	"errors"
	"strconv"

	"github.com/scarab-ops/scarab/bootstrap"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/names"
)

// local makes and takes down controllers on the local cloud.
type local struct{}

func (local) Start(
	ctx context.Context, r session.BootstrapRequest, report func(session.Step),
) (session.Bootstrapped, error) {
	if r.Cloud != "localhost" {
		return session.Bootstrapped{}, errors.New("cannot bootstrap on cloud \"" + r.Cloud + "\": this release knows the cloud localhost")
	}
	req := bootstrap.Request{Name: r.Name, ModelConfig: r.ModelConfig, Config: r.ControllerConfig, CheckOnly: r.CheckOnly}
	if p, ok := r.ControllerConfig["api-port"]; ok {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 65535 {
			return session.Bootstrapped{}, errors.New("cannot bootstrap: api-port " + strconv.Quote(p) + " is not a port")
		}
		req.APIPort = n
	}
	c, err := bootstrap.Start(ctx, bootstrap.Paths{}, req, steps(report))
	var running *bootstrap.RunningError
	if errors.As(err, &running) {
		err = &session.RunningError{UUID: string(running.UUID), Address: running.Address, Err: err}
	}
	return session.Bootstrapped{
		ControllerUUID: string(c.UUID), ControllerModelUUID: string(c.ModelUUID), Addresses: c.Addresses,
		CACert: c.CACert, User: string(c.Admin), Password: c.Password,
		CloudType: "lxd", Version: version,
	}, err
}

func (local) Destroy(ctx context.Context, r session.DestroyRequest, report func(session.Step)) error {
	return bootstrap.Destroy(ctx, bootstrap.Paths{}, names.ControllerID(r.ControllerUUID), steps(report))
}

func (local) Here(uuid string) (bool, error) {
	return bootstrap.Here(bootstrap.Paths{}, names.ControllerID(uuid))
}

func (local) Asleep(ctx context.Context, uuid string) string {
	return bootstrap.Asleep(ctx, bootstrap.Paths{}, names.ControllerID(uuid))
}

func steps(report func(session.Step)) bootstrap.Report {
	return func(name string, done bool, err error) { report(session.Step{Name: name, Done: done, Err: err}) }
}
