package usermanager

import (
	"fmt"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/wiremap"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wireum "github.com/scarab-ops/scarab/wire/usermanager"
)

// userInfo tells superusers of everybody, everybody else of themselves.
func userInfo(_ Service, c facade.Call, a wireum.UserInfoRequest) (wireum.UserInfoResults, error) {
	out := wireum.UserInfoResults{Results: []wireum.UserInfoResult{}}
	if len(a.Entities) > facade.MaxItems {
		return out, bad(fmt.Errorf("cannot show %d users at once", len(a.Entities)))
	}
	v, super := c.View(), c.Holds(authz.Superuser, authz.Controller)
	if len(a.Entities) == 0 {
		for row, err := range user.Table.All(v, state.Controller) {
			if err == nil && (super || row.Name == c.Caller.User.Local()) && (!row.Disabled || a.IncludeDisabled) {
				out.Results = append(out.Results, wireum.UserInfoResult{Result: about(v, row)})
			}
		}
		return out, nil
	}
	for _, e := range a.Entities {
		out.Results = append(out.Results, oneUser(c, e.Tag, super))
	}
	return out, nil
}

func oneUser(c facade.Call, tag string, super bool) wireum.UserInfoResult {
	u, err := names.ParseUser(tag)
	if err != nil {
		return wireum.UserInfoResult{Error: facade.ToWire(bad(err))}
	}
	if !super && u.Local() != c.Caller.User.Local() {
		return wireum.UserInfoResult{Error: facade.ToWire(authz.ErrDenied)}
	}
	row, err := user.Table.Get(c.View(), state.Controller, string(u.Local()))
	if err != nil {
		return wireum.UserInfoResult{Error: facade.ToWire(notFound(u))}
	}
	return wireum.UserInfoResult{Result: about(c.View(), row)}
}

func about(v state.Reader, row user.Row) *wireum.UserInfo {
	out := &wireum.UserInfo{
		Username: string(row.Name), DisplayName: row.DisplayName, Disabled: row.Disabled, CreatedBy: string(row.CreatedBy),
		DateCreated: row.Created.UTC(), Access: user.Level(v, row.Name, user.OnController),
	}
	if s, err := user.Sessions.Get(v, state.Controller, string(row.Name)+"/"+user.OnController); err == nil {
		out.LastConnection = wiremap.Time(s.Last)
	}
	return out
}

// modelUserInfo has its own loop, for each model stands for all its users.
func modelUserInfo(_ Service, c facade.Call, a wire.Entities) (wireum.ModelUserInfoResults, error) {
	out := wireum.ModelUserInfoResults{Results: []wireum.ModelUserInfoResult{}}
	if len(a.Entities) > 100 {
		return out, bad(fmt.Errorf("cannot show the users of %d models at once: at most 100", len(a.Entities)))
	}
	for _, e := range a.Entities {
		m, err := names.ParseModel(e.Tag)
		if err != nil {
			out.Results = append(out.Results, wireum.ModelUserInfoResult{Error: facade.ToWire(bad(err))})
			continue
		}
		if _, err := model.Get(c.View(), m); err != nil || !c.Holds(authz.Read, authz.Model(m)) {
			out.Results = append(out.Results, wireum.ModelUserInfoResult{Error: facade.ToWire(authz.ErrDenied)})
			continue
		}
		out.Results = append(out.Results, usersOf(c, m)...)
	}
	return out, nil
}

func usersOf(c facade.Call, m names.Model) []wireum.ModelUserInfoResult {
	var out []wireum.ModelUserInfoResult
	v, all := c.View(), c.Holds(authz.Admin, authz.Model(m))
	for g, err := range user.Grants.All(v, state.Controller) {
		if err != nil || g.On != string(m) || !all && g.User.Local() != c.Caller.User.Local() {
			continue
		}
		row, err := user.Table.Get(v, state.Controller, string(g.User))
		if err != nil {
			continue
		}
		out = append(out, wireum.ModelUserInfoResult{Result: &wire.ModelUserInfo{
			ModelTag: m.Tag().String(), User: string(row.Name), DisplayName: row.DisplayName, Access: g.Level,
			LastConnection: wiremap.LastSeen(v, row.Name, m),
		}})
	}
	return out
}
