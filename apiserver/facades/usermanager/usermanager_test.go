package usermanager

import (
	"testing"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/facadetest"
	"github.com/scarab-ops/scarab/password"
	wiretypes "github.com/scarab-ops/scarab/wire/usermanager"
)

func endpoints(t *testing.T, _ *facadetest.World) []facade.Endpoint {
	t.Helper()
	checker, err := password.NewChecker()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Endpoints(Service{}); err == nil {
		t.Error("a service that cannot hash was bound")
	}
	es, err := Endpoints(Service{Passwords: checker})
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
