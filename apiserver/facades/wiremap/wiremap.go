// Package wiremap turns values that several facades carry into their wire
// form and back: constraints, bases, endpoints, statuses. It is pure and
// refuses constraints that no machine can have.
package wiremap

import (
	"fmt"
	"maps"
	"math"
	"time"

	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/constraint"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/wire"
)

// Constraints reads constraints off the wire and checks them.
func Constraints(w wire.Value) (constraint.Value, error) {
	v := constraint.Value{
		Arch: w.Arch, Container: w.Container, RootDiskSource: w.RootDiskSource, Tags: list(w.Tags),
		InstanceRole: w.InstanceRole, InstanceType: w.InstanceType, Spaces: list(w.Spaces),
		VirtType: w.VirtType, Zones: list(w.Zones), AllocatePublicIP: w.AllocatePublicIP, ImageID: w.ImageID,
	}
	for _, n := range []struct {
		key  string
		from *int
		to   **uint64
	}{{"cores", w.Cores, &v.Cores}, {"cpu-power", w.CPUPower, &v.CPUPower}, {"mem", w.Mem, &v.Mem}, {"root-disk", w.RootDisk, &v.RootDisk}} {
		if n.from == nil {
			continue
		}
		if *n.from < 0 {
			return constraint.Value{}, fmt.Errorf("bad %q constraint: must not be negative", n.key)
		}
		u := uint64(*n.from)
		*n.to = &u
	}
	return constraint.Parse(v.String())
}

func list(l []string) *[]string {
	if l == nil {
		return nil
	}
	return &l
}

// FromConstraints writes constraints for the wire.
func FromConstraints(v constraint.Value) wire.Value {
	w := wire.Value{
		Arch: v.Arch, Container: v.Container, RootDiskSource: v.RootDiskSource,
		InstanceRole: v.InstanceRole, InstanceType: v.InstanceType, VirtType: v.VirtType,
		AllocatePublicIP: v.AllocatePublicIP, ImageID: v.ImageID,
		Cores: number(v.Cores), CPUPower: number(v.CPUPower), Mem: number(v.Mem), RootDisk: number(v.RootDisk),
	}
	w.Tags, w.Spaces, w.Zones = unlist(v.Tags), unlist(v.Spaces), unlist(v.Zones)
	return w
}

func unlist(l *[]string) []string {
	if l == nil {
		return nil
	}
	return append([]string{}, *l...)
}

func number(n *uint64) *int {
	if n == nil {
		return nil
	}
	i := int(min(*n, math.MaxInt32))
	return &i
}

// Base reads a base off the wire; nil is the zero base.
func Base(b *wire.Base) machine.Base {
	if b == nil {
		return machine.Base{}
	}
	return machine.Base{Name: b.Name, Channel: b.Channel}
}

// FromBase writes a base for the wire.
func FromBase(b machine.Base) wire.Base { return wire.Base{Name: b.Name, Channel: b.Channel} }

// Endpoint writes a charm's endpoint for the wire.
func Endpoint(r charm.Relation) wire.CharmRelation {
	return wire.CharmRelation{
		Name: r.Name, Role: string(r.Role), Interface: r.Interface, Optional: r.Optional,
		Limit: r.Limit, Scope: string(r.Scope),
	}
}

// Exposure writes who may reach an application; nil for one not exposed.
func Exposure(e map[string]application.Exposure) map[string]wire.ExposedEndpoint {
	if e == nil {
		return nil
	}
	out := make(map[string]wire.ExposedEndpoint, len(e))
	for ep, x := range e {
		out[ep] = wire.ExposedEndpoint{ExposeToCIDRs: x.CIDRs, ExposeToSpaces: x.Spaces}
	}
	return out
}

// Time is nil for the zero time.
func Time(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// Status writes a status for the wire.
func Status(e status.Entry) wire.EntityStatus {
	return wire.EntityStatus{Status: e.Status, Info: e.Message, Data: e.Data, Since: Time(e.Since)}
}

// Hardware writes what a machine has.
func Hardware(i machine.Instance) wire.MachineHardware {
	h := wire.MachineHardware{}
	if i.Arch != "" {
		h.Arch = &i.Arch
	}
	if i.Zone != "" {
		h.AvailabilityZone = &i.Zone
	}
	for _, n := range []struct {
		from int64
		to   **int
	}{{int64(i.Cores), &h.Cores}, {i.MemMiB, &h.Mem}, {i.RootDiskMiB, &h.RootDisk}} {
		if n.from > 0 {
			v := int(n.from)
			*n.to = &v
		}
	}
	return h
}

// Public returns a model's configuration without its secrets, which are
// written and never read.
func Public(c model.Config) model.Config {
	out := maps.Clone(c)
	for _, k := range model.Keys() {
		if k.Secret {
			delete(out, k.Name)
		}
	}
	return out
}

// Config writes a model's configuration for the wire, without its secrets.
func Config(c model.Config) map[string]wire.ConfigValue {
	out := map[string]wire.ConfigValue{}
	for k, v := range Public(c) {
		out[k] = wire.ConfigValue{Value: v.Value, Source: v.Source}
	}
	return out
}
