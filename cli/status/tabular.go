package status

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/scarab-ops/scarab/cli/output"
)

// Tabular prints the tables.
func (d *Document) Tabular(w io.Writer, colour, relations, storage bool) error {
	p := &printer{d: d, w: w, colour: colour}
	p.model()
	p.remotes()
	p.applications()
	p.units()
	p.machines()
	p.offers()
	if relations {
		p.relations()
	}
	if storage {
		p.storage()
	}
	if len(d.isolation) > 0 && p.err == nil {
		_, p.err = fmt.Fprintf(w, "\n%s\n", output.Paint("WARNING: weak isolation: these machines share more with the host than a container does: "+
			strings.Join(d.isolation, ", "), output.Warn, colour))
	}
	return p.err
}

type printer struct {
	d       *Document
	w       io.Writer
	colour  bool
	started bool
	err     error
}

func (p *printer) section(head ...string) *output.Table {
	t := output.NewTable(p.colour)
	t.Head(head...)
	return t
}

// flush prints a section, an empty line before all but the first.
func (p *printer) flush(t *output.Table) {
	if p.err != nil {
		return
	}
	if p.started {
		if _, p.err = io.WriteString(p.w, "\n"); p.err != nil {
			return
		}
	}
	p.started = true
	p.err = t.Flush(p.w)
}

func (p *printer) model() {
	m := p.d.Model
	head := []string{"Model", "Controller", "Cloud/Region", "Version", "SLA", "Timestamp"}
	cloud := m.Cloud
	if m.Region != "" {
		cloud += "/" + m.Region
	}
	row := []string{m.Name, m.Controller, cloud, m.Version, m.SLA, p.d.stamp}
	var notes []string
	if m.Available != "" {
		notes = append(notes, "upgrade available: "+m.Available)
	}
	if m.Status.Message != "" || (m.Status.Current != "" && m.Status.Current != "available") {
		notes = append(notes, strings.TrimSuffix(m.Status.Current+": "+m.Status.Message, ": "))
	}
	if len(notes) > 0 {
		head, row = append(head, "Notes"), append(row, strings.Join(notes, "; "))
	}
	t := p.section(head...)
	t.Row(row...)
	p.flush(t)
}

func (p *printer) remotes() {
	if len(p.d.Remote) == 0 {
		return
	}
	t := p.section("SAAS", "Status", "Store", "URL")
	for _, name := range slices.Sorted(maps.Keys(p.d.Remote)) {
		r := p.d.Remote[name]
		store, url := p.d.Model.Controller, r.URL
		if s, u, ok := strings.Cut(r.URL, ":"); ok {
			store, url = s, u
		}
		t.Cells(output.Text(name), word(r.Status.Current), output.Text(store), output.Text(url))
	}
	p.flush(t)
}

func word(s string) output.Cell { return output.Styled(s, output.StatusStyle(s)) }

func (p *printer) applications() {
	if len(p.d.Applications) == 0 {
		return
	}
	t := p.section("App", "Version", "Status", "Scale", "Charm", "Channel", "Rev", "Exposed", "Message")
	for _, name := range slices.SortedFunc(maps.Keys(p.d.Applications), natural) {
		a := p.d.Applications[name]
		exposed := "no"
		if a.Exposed {
			exposed = "yes"
		}
		t.Cells(output.Text(name), output.Text(short(a.Version, 20)), word(a.Status.Current), output.Right(p.scale(name, a)), output.Text(a.CharmName),
			output.Text(a.CharmChannel), output.Right(strconv.Itoa(a.CharmRev)), output.Text(exposed), output.Text(a.Status.Message))
	}
	p.flush(t)
}

func short(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-3]) + "..."
	}
	return s
}

// scale counts the units; of a subordinate, those below its principals.
func (p *printer) scale(name string, a Application) string {
	have := len(a.Units)
	if len(a.SubordinateTo) > 0 {
		for _, other := range p.d.Applications {
			for _, u := range other.Units {
				for sub := range u.Subordinates {
					if strings.HasPrefix(sub, name+"/") {
						have++
					}
				}
			}
		}
	}
	if a.Scale > 0 && a.Scale != have {
		return fmt.Sprintf("%d/%d", have, a.Scale)
	}
	return strconv.Itoa(have)
}

func (p *printer) units() {
	t := p.section("Unit", "Workload", "Agent", "Machine", "Public address", "Ports", "Message")
	for _, name := range slices.SortedFunc(maps.Keys(p.d.Applications), natural) {
		units := p.d.Applications[name].Units
		for _, n := range slices.SortedFunc(maps.Keys(units), natural) {
			p.unit(t, n, units[n], 0)
		}
	}
	if t.Len() > 1 {
		p.flush(t)
	}
}

func (p *printer) unit(t *output.Table, name string, u Unit, depth int) {
	shown := strings.Repeat("  ", depth) + name
	if u.Leader {
		shown += "*"
	}
	address := u.PublicAddress
	if address == "" {
		address = u.Address
	}
	message := u.Workload.Message
	if u.Agent.Message != "" && (u.Agent.Current == "executing" || message == "") {
		message = strings.TrimSpace("(" + u.Agent.Message + ") " + message)
	}
	t.Cells(output.Text(shown), word(u.Workload.Current), word(u.Agent.Current), output.Text(u.Machine), output.Text(address),
		output.Text(strings.Join(ports(u.Ports), " ")), output.Text(message))
	for _, n := range slices.SortedFunc(maps.Keys(u.Subordinates), natural) {
		p.unit(t, n, u.Subordinates[n], depth+1)
	}
}

// ports joins the ports of one protocol: 80,443/tcp.
func ports(in []string) []string {
	byProto := map[string][]string{}
	var order []string
	for _, port := range in {
		nums, proto, ok := strings.Cut(port, "/")
		if !ok {
			proto, nums = "", port
		}
		if _, seen := byProto[proto]; !seen {
			order = append(order, proto)
		}
		byProto[proto] = append(byProto[proto], nums)
	}
	out := make([]string, 0, len(order))
	for _, proto := range order {
		out = append(out, strings.TrimSuffix(strings.Join(byProto[proto], ",")+"/"+proto, "/"))
	}
	return out
}

// MachineTable prints the table of machines alone.
func (d *Document) MachineTable(w io.Writer, colour bool) error {
	p := &printer{d: d, w: w, colour: colour}
	p.machines()
	return p.err
}

func (p *printer) machines() {
	if len(p.d.Machines) == 0 {
		return
	}
	t := p.section("Machine", "State", "Address", "Inst id", "Base", "AZ", "Message")
	p.machineRows(t, p.d.Machines)
	p.flush(t)
}

func (p *printer) machineRows(t *output.Table, ms map[string]Machine) {
	for _, id := range slices.SortedFunc(maps.Keys(ms), natural) {
		m := ms[id]
		baseText := ""
		if m.Base != nil {
			baseText = m.Base.Name + "@" + m.Base.Channel
		}
		inst := m.InstanceID
		if m.DisplayName != "" {
			inst = m.DisplayName
		}
		message := m.Instance.Message
		if m.Agent.Message != "" && (m.Agent.Current == "down" || m.Agent.Current == "error") {
			message = m.Agent.Message
		}
		state := m.Agent.Current
		if m.Instance.Current == "provisioning error" || m.Instance.Current == "error" {
			state = "down"
		}
		t.Cells(output.Text(id), word(state), output.Text(m.DNSName), output.Text(inst), output.Text(baseText), output.Text(hardware(m.Hardware, "availability-zone")),
			output.Text(message))
		p.machineRows(t, m.Containers)
	}
}

func hardware(text, key string) string {
	for _, f := range strings.Fields(text) {
		if v, ok := strings.CutPrefix(f, key+"="); ok {
			return v
		}
	}
	return ""
}

func (p *printer) offers() {
	if len(p.d.Offers) == 0 {
		return
	}
	t := p.section("Offer", "Application", "Charm", "Rev", "Connected", "Endpoint", "Interface", "Role")
	for _, name := range slices.Sorted(maps.Keys(p.d.Offers)) {
		o := p.d.Offers[name]
		_, charmName, rev := splitCharm(o.Charm)
		first := []string{name, o.Application, charmName, strconv.Itoa(rev), fmt.Sprintf("%d/%d", o.Active, o.Total)}
		for _, ep := range slices.Sorted(maps.Keys(o.Endpoints)) {
			e := o.Endpoints[ep]
			t.Row(append(first, ep, e.Interface, e.Role)...)
			first = []string{"", "", "", "", ""}
		}
	}
	p.flush(t)
}

func (p *printer) relations() {
	if len(p.d.relations) == 0 {
		return
	}
	rows := slices.Clone(p.d.relations)
	slices.SortFunc(rows, func(a, b Relation) int {
		return strings.Compare(a.Provider+" "+a.Requirer, b.Provider+" "+b.Requirer)
	})
	t := p.section("Integration provider", "Requirer", "Interface", "Type", "Message")
	for _, r := range rows {
		t.Row(r.Provider, r.Requirer, r.Interface, r.Type, r.Message)
	}
	p.flush(t)
}

func (p *printer) storage() {
	if p.d.Storage == nil {
		return
	}
	t := p.section("Storage Unit", "Storage ID", "Type", "Mountpoint", "Status", "Message")
	for _, id := range slices.SortedFunc(maps.Keys(p.d.Storage.Instances), natural) {
		s := p.d.Storage.Instances[id]
		if len(s.Attachments.Units) == 0 {
			t.Cells(output.Text(""), output.Text(id), output.Text(s.Kind), output.Text(""), word(s.Status.Current), output.Text(s.Status.Message))
		}
		for _, u := range slices.SortedFunc(maps.Keys(s.Attachments.Units), natural) {
			t.Cells(output.Text(u), output.Text(id), output.Text(s.Kind), output.Text(s.Attachments.Units[u].Location), word(s.Status.Current), output.Text(s.Status.Message))
		}
	}
	p.flush(t)
}

// Natural orders names so that x/10 comes after x/9.
func natural(a, b string) int {
	for a != "" && b != "" {
		ca, ra := chunk(a)
		cb, rb := chunk(b)
		na, erra := strconv.Atoi(ca)
		nb, errb := strconv.Atoi(cb)
		if erra == nil && errb == nil && na != nb {
			if na < nb {
				return -1
			}
			return 1
		}
		if c := strings.Compare(ca, cb); c != 0 {
			return c
		}
		a, b = ra, rb
	}
	return strings.Compare(a, b)
}

// Natural is the order of names in every list of the client.
func Natural(a, b string) int { return natural(a, b) }

func chunk(s string) (head, rest string) {
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	i := 1
	for i < len(s) && digit(s[i]) == digit(s[0]) {
		i++
	}
	return s[:i], s[i:]
}
