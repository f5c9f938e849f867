package status

import (
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/scarab-ops/scarab/cli/output"
)

// Short prints one line for each unit. The formats short and line are the same, oneline is their older name.
func (d *Document) Short(w io.Writer) error {
	var b strings.Builder
	for _, name := range slices.SortedFunc(maps.Keys(d.Applications), natural) {
		units := d.Applications[name].Units
		for _, n := range slices.SortedFunc(maps.Keys(units), natural) {
			shortUnit(&b, n, units[n], 0)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func shortUnit(b *strings.Builder, name string, u Unit, depth int) {
	address := u.PublicAddress
	if address == "" {
		address = u.Address
	}
	leader := ""
	if u.Leader {
		leader = "*"
	}
	line := fmt.Sprintf("- %s%s: %s (agent:%s, workload:%s)", name, leader, address, u.Agent.Current, u.Workload.Current)
	if len(u.Ports) > 0 {
		line += " " + strings.Join(u.Ports, ", ")
	}
	fmt.Fprintf(b, "%s%s\n", strings.Repeat("  ", depth), output.Escape(line))
	for _, n := range slices.SortedFunc(maps.Keys(u.Subordinates), natural) {
		shortUnit(b, n, u.Subordinates[n], depth+1)
	}
}

// Summary counts what there is by its state.
func (d *Document) Summary(w io.Writer, colour bool) error {
	machines, units, apps := map[string]int{}, map[string]int{}, map[string]int{}
	open := map[string]bool{}
	subnets := map[string]bool{}
	count := 0
	var walk func(u Unit)
	walk = func(u Unit) {
		units[u.Workload.Current]++
		count++
		for _, p := range u.Ports {
			open[p] = true
		}
		for _, s := range u.Subordinates {
			walk(s)
		}
	}
	for _, a := range d.Applications {
		apps[a.Status.Current]++
		for _, u := range a.Units {
			walk(u)
		}
	}
	for _, m := range d.Machines {
		machines[m.Agent.Current]++
		for _, a := range m.Addresses {
			if p, err := netip.ParseAddr(a); err == nil && p.Is4() {
				subnets[netip.PrefixFrom(p, 24).Masked().String()] = true
			}
		}
	}
	t := output.NewTable(colour)
	t.Row("Running on subnets:", join(subnets))
	t.Row("Utilizing ports:", join(open))
	t.Row("# Machines:", fmt.Sprintf("(%d)", len(d.Machines)))
	counts(t, machines)
	t.Row("# Units:", fmt.Sprintf("(%d)", count))
	counts(t, units)
	t.Row("# Applications:", fmt.Sprintf("(%d)", len(d.Applications)))
	counts(t, apps)
	return t.Flush(w)
}

func counts(t *output.Table, m map[string]int) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		t.Cells(output.Right(k+":"), output.Text(fmt.Sprint(m[k])))
	}
}

func join(m map[string]bool) string { return strings.Join(slices.Sorted(maps.Keys(m)), ", ") }
