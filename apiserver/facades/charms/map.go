package charms

import (
	"github.com/scarab-ops/scarab/apiserver/facades/wiremap"
	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/wire"
	wirecharms "github.com/scarab-ops/scarab/wire/charms"
)

func toWire(row charmstore.Row) wirecharms.Charm {
	ch := row.Charm
	m := meta(ch.Meta)
	out := wirecharms.Charm{
		URL: row.URL, Revision: ch.Revision, Config: map[string]wirecharms.CharmOption{}, Meta: &m,
		Actions: &wirecharms.CharmActions{Specs: map[string]wirecharms.CharmActionSpec{}}, Manifest: &wirecharms.CharmManifest{},
	}
	for name, o := range ch.Config.Options {
		out.Config[name] = wirecharms.CharmOption{Type: o.Type, Description: o.Description, Default: o.Default}
	}
	for name, a := range ch.Actions.Specs {
		out.Actions.Specs[name] = wirecharms.CharmActionSpec{Description: a.Description, Params: a.Params}
	}
	for _, b := range ch.Manifest.Bases {
		out.Manifest.Bases = append(out.Manifest.Bases, wirecharms.CharmBase{Name: b.Name, Channel: b.Channel, Architectures: b.Architectures})
	}
	if p := ch.LXDProfile; p != nil {
		out.LxdProfile = &wirecharms.CharmLXDProfile{Config: p.Config, Description: p.Description, Devices: p.Devices}
	}
	return out
}

func relations(in map[string]charm.Relation) map[string]wire.CharmRelation {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]wire.CharmRelation, len(in))
	for name, r := range in {
		out[name] = wiremap.Endpoint(r)
	}
	return out
}

func meta(m charm.Meta) wirecharms.CharmMeta {
	out := wirecharms.CharmMeta{
		Name: m.Name, Summary: m.Summary, Description: m.Description, Subordinate: m.Subordinate,
		Provides: relations(m.Provides), Requires: relations(m.Requires), Peers: relations(m.Peers),
		Categories: m.Categories, Tags: m.Tags, Series: m.Series, Terms: m.Terms, MinJujuVersion: m.MinVersion,
		CharmUser: m.CharmUser,
	}
	for _, b := range m.ExtraBindings {
		if out.ExtraBindings == nil {
			out.ExtraBindings = map[string]string{}
		}
		out.ExtraBindings[b] = b
	}
	if len(m.Storage) > 0 {
		out.Storage = map[string]wirecharms.CharmStorage{}
	}
	for name, s := range m.Storage {
		out.Storage[name] = wirecharms.CharmStorage{
			Name: name, Type: s.Type, Description: s.Description, Shared: s.Shared, ReadOnly: s.ReadOnly, CountMin: s.CountMin,
			CountMax: s.CountMax, MinimumSize: int(s.MinimumSize), Location: s.Location, Properties: s.Properties,
		}
	}
	if len(m.Resources) > 0 {
		out.Resources = map[string]wirecharms.CharmResourceMeta{}
	}
	for name, r := range m.Resources {
		out.Resources[name] = wirecharms.CharmResourceMeta{Name: name, Type: r.Type, Path: r.Filename, Description: r.Description}
	}
	if len(m.Containers) > 0 {
		out.Containers = map[string]wirecharms.CharmContainer{}
	}
	for name, k := range m.Containers {
		x := wirecharms.CharmContainer{Resource: k.Resource, Uid: k.UID, Gid: k.GID}
		for _, mt := range k.Mounts {
			x.Mounts = append(x.Mounts, wirecharms.CharmMount{Storage: mt.Storage, Location: mt.Location})
		}
		out.Containers[name] = x
	}
	if len(m.Assumes) > 0 {
		out.AssumesExpr = assumes(m.Assumes)
	}
	return out
}

func assumes(all []charm.Assumption) []any {
	out := make([]any, 0, len(all))
	for _, a := range all {
		switch {
		case len(a.AnyOf) > 0:
			out = append(out, map[string]any{"any-of": assumes(a.AnyOf)})
		case len(a.AllOf) > 0:
			out = append(out, map[string]any{"all-of": assumes(a.AllOf)})
		case a.Op != "":
			out = append(out, a.Feature+" "+a.Op+" "+a.Version)
		default:
			out = append(out, a.Feature)
		}
	}
	return out
}
