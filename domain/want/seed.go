package want

import (
	"iter"
	"strconv"
	"strings"

	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

func splitComma(s string) []string {
	var out []string
	for p := range strings.SplitSeq(s, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}

func members(r state.Reader, s state.Scope, id int) iter.Seq[relation.Member] {
	return func(yield func(relation.Member) bool) {
		for m, err := range relation.Members.Under(r, s, strconv.Itoa(id)+"/") {
			if err == nil && !yield(m) {
				return
			}
		}
	}
}

// Seed returns the address keys of a unit's bags: what the controller writes
// when the unit enters a relation and when its addresses change.
func Seed(r state.Reader, m names.Model, name names.Unit) (map[string]string, error) {
	p, err := look(r, m, name)
	if err != nil {
		return nil, err
	}
	cfg, err := model.Settings(r, m)
	if err != nil {
		return nil, err
	}
	n := network(r, p, cfg)
	if len(n.IngressAddresses) == 0 {
		return nil, nil
	}
	return map[string]string{
		"ingress-address": n.IngressAddresses[0], "private-address": n.IngressAddresses[0],
		"egress-subnets": strings.Join(n.EgressSubnets, ","),
	}, nil
}
