package unitagent

import (
	"fmt"
	"strconv"

	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/state"
)

// What a unit's agent may keep in the store in all, and what its application's
// leader may for the application. The bounds of single values, bags and states
// are elsewhere; these bound how many of them there are.
const (
	maxUnit        = 8 << 20
	maxApplication = 8 << 20
)

// A budgetError is the answer to an agent that has stored too much.
type budgetError struct {
	whose       string
	used, limit int
}

func (e *budgetError) Error() string {
	return fmt.Sprintf("cannot store more for %s: its settings, state and statuses have %d KiB, at most %d; unset what the charm no longer needs",
		e.whose, e.used>>10, e.limit>>10)
}

// Code is the wire code.
func (e *budgetError) Code() string { return "quota limit exceeded" }

// within refuses a transaction of a unit's agent that adds to what is past its
// budget. One that takes away is never refused.
func within(tx *state.Tx, s self) error {
	if tx.Adds(s.scope) <= 0 {
		return nil
	}
	name, app := string(s.unit.Name), string(s.unit.Application)
	own := []state.Key{
		unit.StateTable.Key(s.scope, name), unit.PortsTable.Key(s.scope, name), unit.OpsTable.Key(s.scope, name),
		status.Table.Key(s.scope, status.OfUnitAgent(name)), status.Table.Key(s.scope, status.OfWorkload(name)),
	}
	shared := []state.Key{
		application.Leaders.Key(s.scope, app), status.Table.Key(s.scope, status.OfApplication(app)),
	}
	for _, r := range relation.Of(tx.View(), s.scope, s.unit.Application) {
		id := strconv.Itoa(r.ID)
		own = append(own, relation.Members.Key(s.scope, id+"/"+name))
		shared = append(shared, relation.AppBags.Key(s.scope, id+"/"+app))
	}
	if n := tx.Weigh(own...); n > maxUnit {
		return &budgetError{"unit " + name, n, maxUnit}
	}
	if n := tx.Weigh(shared...); n > maxApplication {
		return &budgetError{"application " + app, n, maxApplication}
	}
	return nil
}
