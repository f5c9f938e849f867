// Package threats_test runs the attacks of the threat matrix against a whole
// controller. Each part of a row is one attack with its oracle; what it proves
// is shown by the mutants beside it, which remove the control and must make it
// fail.
package threats_test

import (
	"flag"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/scarab-ops/scarab/tests/threats/bench"
)

var update = flag.Bool("update", false, "write the golden files anew")

// long runs the matrix's own counts; without it, scaled-down ones.
var long = os.Getenv("SCARAB_LONG") == "1"

// count chooses between the short and the long form of a number.
func count(short, full int) int {
	if long {
		return full
	}
	return short
}

// A part is one attack of a row of the matrix.
type part struct {
	row, name, title string
	run              func(t *testing.T, e *env)
}

// table is every part there is: the list is the truth.
func table() []part {
	return slices.Concat(
		identityParts(), sweepParts(), caParts(), storeParts(), blobParts(), charmParts(), wireParts(), clientParts(),
		floodParts(), relationParts(), enrolParts(), networkParts(), agentParts(),
		reachParts(), limitParts(), diskParts(), claimParts(), budgetParts(),
	)
}

// env is what parts share.
type env struct {
	top  *testing.T
	once sync.Once
	w    *bench.World

	ports sync.Once
	open  []string // what a controller has open beside its port
}

// world is a controller that parts share which leave it as it was.
func (e *env) world() *bench.World {
	e.once.Do(func() { e.w = bench.New(e.top, bench.Options{}) })
	return e.w
}

var passed = map[string]bool{} // "row/part"; written by one goroutine

func TestThreat(t *testing.T) {
	parts := table()
	rows := []string{}
	for _, p := range parts {
		if !slices.Contains(rows, p.row) {
			rows = append(rows, p.row)
		}
	}
	e := &env{top: t}
	for _, row := range rows {
		t.Run(row, func(t *testing.T) {
			for _, p := range parts {
				if p.row == row && t.Run(p.name, func(t *testing.T) { p.run(t, e) }) {
					passed[p.row+"/"+p.name] = true
				}
			}
		})
	}
}
