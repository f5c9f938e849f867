package controller

import (
	"strings"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/http/charms"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/blob"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/state"
)

// charmService lets the charm routes record and find charms.
type charmService struct{}

// AddLocalCharm records an uploaded charm under the next free revision.
func (charmService) AddLocalCharm(c facade.Call, l charms.Local) (string, error) {
	var url string
	err := c.Update(func(tx *state.Tx) error {
		if _, err := model.Alive(tx, c.Caller.Model); err != nil {
			return err
		}
		row, err := charmstore.AddLocal(tx, model.ScopeOf(c.Caller.Model), charmstore.Row{
			SHA256: string(l.Digest), Size: l.Size, Charm: *l.Charm, Added: c.Now(), AddedBy: c.Caller.Tag().String(),
		})
		url = row.URL
		return err
	})
	return url, err
}

// FindCharm returns a charm's archive. A unit gets the charm of its own
// application and no other; a machine those of its units.
func (charmService) FindCharm(c facade.Call, url string) (blob.Digest, error) {
	v, s := c.View(), model.ScopeOf(c.Caller.Model)
	if c.Caller.Kind != authz.User && !needs(v, s, c.Caller, url) {
		return "", authz.ErrDenied
	}
	row, err := charmstore.Get(v, s, url)
	return blob.Digest(row.SHA256), err
}

func needs(r state.Reader, s state.Scope, who *authz.Caller, url string) bool {
	var units []unit.Row
	switch who.Kind {
	case authz.Machine:
		units = unit.On(r, s, who.Machine)
	case authz.Unit:
		if u, err := unit.Get(r, s, who.Unit); err == nil {
			units = []unit.Row{u}
		}
	}
	for _, u := range units {
		app, err := application.Get(r, s, u.Application)
		if u.CharmURL == url || err == nil && app.CharmURL == url {
			return true
		}
	}
	return false
}

// FindObject finds a charm by "<name>-<first digits of its digest>".
func (charmService) FindObject(c facade.Call, object string) (blob.Digest, error) {
	i := strings.LastIndexByte(object, '-')
	if i < 0 || c.Caller.Kind != authz.User {
		return "", authz.ErrDenied
	}
	name, digits := object[:i], object[i+1:]
	for row, err := range charmstore.Table.All(c.View(), model.ScopeOf(c.Caller.Model)) {
		if err == nil && row.Charm.Meta.Name == name && strings.HasPrefix(row.SHA256, digits) {
			return blob.Digest(row.SHA256), nil
		}
	}
	return "", &charmstore.NotFoundError{URL: object}
}

// Refers tells whether a charm of the model has the archive.
func (charmService) Refers(c facade.Call, d blob.Digest) bool {
	for row, err := range charmstore.Table.All(c.View(), model.ScopeOf(c.Caller.Model)) {
		if err != nil || row.SHA256 == string(d) {
			return true
		}
	}
	return false
}
