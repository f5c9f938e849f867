package fullstatus

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/names"
)

// Bounds of a filter.
const (
	MaxPatterns = 100
	maxPattern  = 512
)

// A Filter says what of a picture to show; the nil Filter shows all.
type Filter struct {
	machines map[names.Machine]bool
	units    map[names.Unit]bool
	apps     map[names.Application]bool
	matched  map[names.Application]bool // by themselves
}

// Machine, Unit, Application and Relation tell what is shown.
func (f *Filter) Machine(m names.Machine) bool         { return f == nil || f.machines[m] }
func (f *Filter) Unit(u names.Unit) bool               { return f == nil || f.units[u] }
func (f *Filter) Application(a names.Application) bool { return f == nil || f.apps[a] }

// Relation tells whether a relation is shown: one of its applications was
// matched itself, and not because of a unit.
func (f *Filter) Relation(apps ...names.Application) bool {
	if f == nil {
		return true
	}
	for _, a := range apps {
		if f.matched[a] {
			return true
		}
	}
	return false
}

// Match finds what the patterns select. Each may be a name with * and ?, a
// machine, a status, a port, "exposed", an address or a network.
func (p *Picture) Match(patterns []string) (*Filter, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	if len(patterns) > MaxPatterns {
		return nil, fmt.Errorf("cannot filter by %d patterns: give at most %d", len(patterns), MaxPatterns)
	}
	f := &Filter{
		map[names.Machine]bool{}, map[names.Unit]bool{}, map[names.Application]bool{}, map[names.Application]bool{},
	}
	for _, text := range patterns {
		if len(text) > maxPattern {
			return nil, fmt.Errorf("cannot filter: a pattern is longer than %d bytes", maxPattern)
		}
	}
	p.matchMachines(f, patterns)
	all := map[names.Unit]*Member{}
	for _, us := range p.Units {
		for _, u := range us {
			all[u.Name] = u
		}
	}
	for _, a := range p.Applications {
		direct := p.appMatches(a, patterns)
		if direct {
			f.apps[a.Name], f.matched[a.Name] = true, true
		}
		for _, u := range p.Units[a.Name] {
			if direct || f.machines[u.Machine] && u.Machine != "" || p.unitMatches(u, patterns) {
				p.keep(f, u, all)
			}
		}
	}
	return f, nil
}

// keep shows a unit with its machine, its application, its principal and its
// subordinates.
func (p *Picture) keep(f *Filter, u *Member, all map[names.Unit]*Member) {
	show := func(u *Member) {
		f.units[u.Name], f.apps[u.Application] = true, true
		if u.Machine != "" {
			f.machines[u.Machine] = true
		}
	}
	show(u)
	if pr, ok := all[u.Principal]; ok {
		show(pr)
	}
	for _, s := range p.Subordinates[u.Name] {
		show(s)
	}
}

func (p *Picture) matchMachines(f *Filter, patterns []string) {
	for _, m := range p.Machines {
		addrs := p.addresses(m)
		for _, t := range patterns {
			if glob(t, string(m.ID)) || t == p.Machine(m).Status || addressMatches(t, addrs) {
				f.machines[m.ID] = true
			}
		}
	}
}

func (p *Picture) addresses(m *Host) []string {
	var out []string
	for _, a := range m.Seen.Addresses {
		out = append(out, a.Value)
	}
	return append(out, m.Instance.Addresses...)
}

func addressMatches(pattern string, addrs []string) bool {
	if !strings.ContainsAny(pattern, ".:") {
		return false
	}
	if n, err := netip.ParsePrefix(pattern); err == nil {
		for _, a := range addrs {
			if ip, err := netip.ParseAddr(a); err == nil && n.Contains(ip) {
				return true
			}
		}
		return false
	}
	for _, a := range addrs {
		if a == pattern {
			return true
		}
	}
	return false
}

func (p *Picture) appMatches(a application.Row, patterns []string) bool {
	st := p.Application(a).Status
	for _, t := range patterns {
		if glob(t, string(a.Name)) || t == st || t == "exposed" && a.Exposed != nil {
			return true
		}
	}
	return false
}

func (p *Picture) unitMatches(u *Member, patterns []string) bool {
	agent, workload := p.Unit(u)
	for _, t := range patterns {
		leader := t == string(u.Application)+"/leader" && p.Leaders[u.Application] == u.Name
		if leader || glob(t, string(u.Name)) || t == agent.Status || t == workload.Status || p.portMatches(u, t) {
			return true
		}
	}
	return false
}

func (p *Picture) portMatches(u *Member, pattern string) bool {
	number, proto, _ := strings.Cut(pattern, "/")
	n, err := strconv.Atoi(number)
	if err != nil {
		return false
	}
	for _, r := range u.Ports {
		if n >= r.From && n <= r.To && (proto == "" || proto == r.Protocol) {
			return true
		}
	}
	return false
}

// glob matches text against a pattern with * and ?. It takes at most
// len(pattern) times len(text) steps, whatever the pattern.
func glob(pattern, text string) bool {
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]) && pattern[p] != '*':
			p++
			t++
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
