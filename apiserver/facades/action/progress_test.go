package action

import (
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/facadetest"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/task"
	"github.com/scarab-ops/scarab/state"
)

func TestProgressIsToldOnce(t *testing.T) {
	w := facadetest.New(t)
	w.Deploy(t, "db", "db", 1)
	scope := model.ScopeOf(facadetest.Dev)
	more, err := facade.WatcherEndpoints()
	if err != nil {
		t.Fatal(err)
	}
	es, s := append(endpoints(t, w), more...), w.Session("wendy", facadetest.Dev)
	t.Cleanup(s.Close)
	if _, err := w.Call(s, es, "Action.7.EnqueueOperation", "", `{"actions":[{"receiver":"unit-db-0","name":"backup"}]}`); err != nil {
		t.Fatal(err)
	}
	say := func(text string) {
		w.Update(t, func(tx *state.Tx) error { return task.Log(tx, scope, "db/0", "2", text, w.Now()) })
	}
	say("one")
	raw, err := w.Call(s, es, "Action.7.WatchActionsProgress", "", `{"entities":[{"tag":"action-2"}]}`)
	if err != nil || !strings.Contains(string(raw), `one`) {
		t.Fatalf("got %s, %v; want the first message", raw, err)
	}
	say("two") // at the same instant as the first
	w.Advance(time.Second)
	say("three")
	raw, err = w.Call(s, es, "StringsWatcher.1.Next", "1", "")
	if err != nil || strings.Contains(string(raw), "one") || !strings.Contains(string(raw), "two") || !strings.Contains(string(raw), "three") {
		t.Fatalf("got %s, %v; want the second and the third message", raw, err)
	}
}
