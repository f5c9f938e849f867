package sshclient

import (
	"testing"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/facadetest"
	"github.com/scarab-ops/scarab/domain/status"
	wiretypes "github.com/scarab-ops/scarab/wire/sshclient"
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
	facadetest.Run(t, func(t *testing.T, w *facadetest.World) []facade.Endpoint {
		t.Helper()
		w.Deploy(t, "db", "db", 2)
		w.Deploy(t, "web", "web", 1)
		w.Deploy(t, "log", "log", 0)
		w.Relate(t, "web", "db")
		w.Start(t, "0", "10.0.0.10")
		w.Report(t, "db/0", status.Entry{Status: "idle"}, status.Entry{Status: "active", Message: "ready"})
		w.Report(t, "web/0", status.Entry{
			Status: "error", Message: `hook failed: "db-relation-changed"`, Data: map[string]any{"hook": "db-relation-changed", "relation-id": 1},
		}, status.Entry{Status: "waiting"})
		w.Lead(t, "db/0")
		return endpoints(t, w)
	})
}

func TestCoverage(t *testing.T) {
	facadetest.Coverage(t, endpoints(t, facadetest.New(t)), wiretypes.MethodsV4)
}
