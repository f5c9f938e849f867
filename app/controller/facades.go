package controller

import (
	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/enrolment"
	"github.com/scarab-ops/scarab/apiserver/facades/machineagent"
	"github.com/scarab-ops/scarab/apiserver/facades/unitagent"
)

// facades lists every facade. What is not here cannot be called.
func (p *parts) facades() ([][]facade.Endpoint, error) {
	var out [][]facade.Endpoint
	var failed error
	add := func(es []facade.Endpoint, err error) {
		if err != nil && failed == nil {
			failed = err
		}
		out = append(out, es)
	}
	add(enrolment.Endpoints(enrolment.Service{Signer: signer{p.keys.ca}}))
	add(machineagent.Endpoints(machineagent.Service{Store: p.store, Box: p.box}))
	add(unitagent.Endpoints(unitagent.Service{Store: p.store}))
	p.clientFacades(add)
	return out, failed
}
