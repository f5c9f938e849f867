package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/audit"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire/admin"
)

// loginArgs is what a login sends; its password does not print.
type loginArgs struct {
	AuthTag     string            `json:"auth-tag"`
	Credentials string            `json:"credentials"`
	Nonce       string            `json:"nonce"`
	Macaroons   []json.RawMessage `json:"macaroons"`
	Token       string            `json:"token"`
}

func (a *loginArgs) credentials() (names.Tag, password.Secret, error) {
	if a.Token != "" {
		return names.Tag{}, password.Secret{}, ErrCredentials // no token issuer is configured
	}
	if a.AuthTag == "" {
		return names.Tag{}, password.Secret{}, ErrNoCredentials
	}
	tag, err := names.ParseTag(a.AuthTag)
	return tag, password.NewSecret(a.Credentials), err
}

// admit checks what a user needs to come in at all, after the password.
func (s *Server) admit(c *authz.Caller) error {
	if c.Kind != authz.User {
		return nil
	}
	g := s.cfg.Grants(s.cfg.Store.View())
	if err := c.Check(g, authz.Login, authz.Controller); err != nil {
		return err
	}
	if c.Model == "" {
		return nil
	}
	return c.Check(g, authz.Read, authz.Model(c.Model))
}

// loginResult is what a successful login is told.
func (s *Server) loginResult(id *Identity) admin.LoginResult {
	c := &id.Caller
	res := admin.LoginResult{
		ControllerTag: s.cfg.Controller.Tag().String(),
		ServerVersion: s.cfg.ServerVersion,
		PublicDNSName: s.cfg.PublicDNSName,
		Servers:       reachable(s.cfg.Servers()),
		Facades:       s.facades(c),
	}
	if c.Model != "" {
		res.ModelTag = c.Model.Tag().String()
	}
	if c.Kind == authz.User {
		res.UserInfo = s.userInfo(id)
	}
	return res
}

func (s *Server) userInfo(id *Identity) *admin.AuthUserInfo {
	c := &id.Caller
	g := s.cfg.Grants(s.cfg.Store.View())
	info := &admin.AuthUserInfo{
		DisplayName: id.DisplayName, Identity: c.User.Tag().String(), LastConnection: id.LastConnection,
	}
	onController := g.Level(c.User, authz.Controller)
	switch {
	case onController >= authz.Superuser:
		info.ControllerAccess = "superuser"
	case onController >= authz.Login:
		info.ControllerAccess = "login"
	}
	if c.Model == "" {
		return info
	}
	onModel := g.Level(c.User, authz.Model(c.Model))
	switch {
	case onModel >= authz.Admin || onController >= authz.Superuser && onModel == authz.Nobody:
		info.ModelAccess = "admin"
	case onModel >= authz.Write:
		info.ModelAccess = "write"
	case onModel >= authz.Read:
		info.ModelAccess = "read"
	}
	return info
}

// reachable leaves out what clients drop. They drop every address of scope
// local-machine and link-local, and an empty list breaks their next command,
// so a loopback address goes out as local-cloud.
func reachable(servers [][]admin.HostPort) [][]admin.HostPort {
	out := make([][]admin.HostPort, 0, len(servers))
	for _, node := range servers {
		kept := make([]admin.HostPort, 0, len(node))
		for _, hp := range node {
			switch hp.Scope {
			case "link-local":
				continue
			case "local-machine":
				hp.Scope = "local-cloud"
			}
			kept = append(kept, hp)
		}
		if len(kept) > 0 {
			out = append(out, kept)
		}
	}
	return out
}

// Facades of controller connections alone, and of both kinds. All others are
// of model connections.
var (
	controllerOnly = []string{
		"AllModelWatcher", "ApplicationOffers", "Cloud", "Controller", "CrossController", "MigrationTarget", "ModelManager",
		"ModelSummaryWatcher", "ModelUpgrader", "SecretBackends", "UserManager",
	}
	bothKinds = []string{"Bundle", "HighAvailability", "ModelConfig", "NotifyWatcher", "Pinger", "Scarab"}
)

// onConnection tells whether a facade belongs to the caller's kind of connection.
func onConnection(name string, c *authz.Caller) bool {
	if slices.Contains(bothKinds, name) {
		return true
	}
	return slices.Contains(controllerOnly, name) == (c.Model == "")
}

// facades lists what the caller's connection offers: facades with at least one
// method that admits its kind.
func (s *Server) facades(c *authz.Caller) []admin.FacadeVersions {
	offered := map[string][]int{}
	for _, e := range s.table.Endpoints() {
		if onConnection(e.Facade, c) && e.Rule.Who&c.Kind != 0 && !slices.Contains(offered[e.Facade], e.Version) {
			offered[e.Facade] = append(offered[e.Facade], e.Version)
		}
	}
	out := make([]admin.FacadeVersions, 0, len(offered))
	for name, versions := range offered {
		slices.Sort(versions)
		out = append(out, admin.FacadeVersions{Name: name, Versions: versions})
	}
	slices.SortFunc(out, func(a, b admin.FacadeVersions) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

func (s *Server) newSession(c *authz.Caller, conn, source string) *facade.Session {
	return facade.NewSession(facade.SessionConfig{
		Store: s.cfg.Store, Grants: s.cfg.Grants, Now: s.cfg.Now, Mode: s.cfg.Mode,
		Caller: c, Connection: conn, Source: source, MaxWatchers: s.cfg.Limits.Watchers,
		Panicked: func(method string, reason any, stack []byte) {
			// The reason may hold a request's values: its type is enough.
			s.cfg.Log.Error("panic in a call", "method", method, "type", typeName(reason), "stack", string(stack))
		},
	})
}

// noteLogin records how a login ended. Failures past a rate are counted and
// told by the next record, so that guessing cannot fill the store.
func (s *Server) noteLogin(ctx context.Context, l loginNote) error {
	failed := l.err != nil
	if failed && !s.limits.recorded(source(l.source)) {
		s.unrecorded.Add(1)
		return nil
	}
	rec := audit.Record{
		Time: s.cfg.Now(), Actor: l.tag, Source: l.source, Connection: l.connection,
		Facade: "Admin", Version: 3, Method: "Login", Model: string(l.model), Outcome: audit.OK, Kind: "unknown",
	}
	rec.ID = audit.ID(rec.Time, newID())
	if l.caller != nil {
		rec.Kind = l.caller.Kind.String()
	}
	if failed {
		rec.Outcome, rec.Error = audit.Denied, facade.ToWire(l.err).Message
	}
	if n := s.unrecorded.Swap(0); n > 0 {
		rec.Targets = []string{fmt.Sprintf("%d more failed logins before this one", n)}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return s.cfg.Store.Update(ctx, func(tx *state.Tx) error { return audit.Put(tx, rec) })
}

// loginNote is what a login's record holds.
type loginNote struct {
	tag, source, connection string
	model                   names.Model
	caller                  *authz.Caller
	err                     error
}
