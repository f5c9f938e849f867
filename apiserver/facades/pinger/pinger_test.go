package pinger

import (
	"testing"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/facadetest"
	wiretypes "github.com/scarab-ops/scarab/wire/pinger"
)

func endpoints(t *testing.T, _ *facadetest.World) []facade.Endpoint {
	t.Helper()
	es, err := Endpoints(Service{})
	if err != nil {
		t.Fatal(err)
	}
	return es
}

func TestScripts(t *testing.T) {
	facadetest.Run(t, func(t *testing.T, w *facadetest.World) []facade.Endpoint { return endpoints(t, w) })
}

func TestCoverage(t *testing.T) {
	facadetest.Coverage(t, endpoints(t, facadetest.New(t)), wiretypes.Methods)
}
