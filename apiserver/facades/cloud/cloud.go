// Package cloud serves the facade Cloud: the clouds a person may use. The
// clouds of this release need no credentials, so there are none to list, and
// it refuses to take any.
package cloud

import (
	"fmt"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/refuse"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/cloud"
	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wirecloud "github.com/scarab-ops/scarab/wire/cloud"
)

// A Service is what the facade needs: nothing but the call's own state.
type Service struct{}

func v7() facade.Facade[Service] {
	login, super := authz.OnController(authz.Login).Reads(), authz.OnController(authz.Superuser)
	use := authz.PerItem(authz.AddModel).Reads()
	f := facade.Facade[Service]{Name: "Cloud", Version: 7, Methods: []facade.Method[Service]{
		facade.None("Clouds", login, clouds),
		facade.EachOn("Cloud", use, target, wirecloud.CloudShape, one),
		facade.EachOn("CloudInfo", use, target, wirecloud.CloudInfoShape, info),
		facade.One("ListCloudInfo", login, listInfo),
		facade.Each("UserCredentials", login, wirecloud.UserCredentialsShape, userCredentials),
		facade.Each("Credential", login, wirecloud.CredentialShape, credential),
		facade.One("CredentialContents", login, credentialContents),
	}}
	no := refuse.Method[Service]
	needless := "cannot store a credential: the clouds of this release need none"
	fixed := "cannot change clouds in this release: the controller serves the cloud it was started on"
	return f.With(
		no("AddCredentials", login, needless), no("UpdateCredentialsCheckModels", login, needless),
		no("CheckCredentialsModels", login, needless), no("RevokeCredentialsCheckModels", login, needless),
		no("AddCloud", super, fixed), no("UpdateCloud", super, fixed), no("RemoveClouds", super, fixed),
		no("ModifyCloudAccess", super, "cannot share a cloud in this release: make models for others as an administrator"),
		no("InstanceTypes", login, "cannot list instance types: this cloud makes machines of any size"),
	)
}

// Endpoints binds the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) { return facade.Bind(v7(), s) }

func bad(err error) error { return &facade.BadRequest{Reason: err.Error()} }

func target(e wire.Entity) (authz.Target, error) {
	id, err := names.Parse(e.Tag, names.KindCloud)
	if err != nil {
		return "", bad(err)
	}
	return authz.Cloud(names.Cloud(id)), nil
}

func regions(row cloud.Row) []wirecloud.CloudRegion {
	var out []wirecloud.CloudRegion
	for _, r := range row.Regions {
		out = append(out, wirecloud.CloudRegion{Name: r, Endpoint: row.Endpoint})
	}
	return out
}

// home is the cloud that the controller itself runs on.
func home(r state.Reader) names.Cloud {
	ctl, err := controller.Get(r)
	if err != nil {
		return ""
	}
	m, err := model.Get(r, ctl.Model)
	if err != nil {
		return ""
	}
	return m.Cloud
}

func toWire(r state.Reader, row cloud.Row) wirecloud.Cloud {
	return wirecloud.Cloud{
		Type: row.Type, AuthTypes: row.AuthTypes, Endpoint: row.Endpoint, Regions: regions(row),
		IsControllerCloud: row.Name == home(r),
	}
}

// usable lists the clouds on which the caller may make models.
func usable(c facade.Call) []cloud.Row {
	var out []cloud.Row
	for row, err := range cloud.Table.All(c.View(), state.Controller) {
		if err == nil && c.Holds(authz.AddModel, authz.Cloud(row.Name)) {
			out = append(out, row)
		}
	}
	return out
}

func clouds(_ Service, c facade.Call) (wirecloud.CloudsResult, error) {
	out := wirecloud.CloudsResult{Clouds: map[string]wirecloud.Cloud{}}
	for _, row := range usable(c) {
		out.Clouds[row.Name.Tag().String()] = toWire(c.View(), row)
	}
	return out, nil
}

func find(c facade.Call, tag string) (cloud.Row, error) {
	id, err := names.Parse(tag, names.KindCloud)
	if err != nil {
		return cloud.Row{}, bad(err)
	}
	return cloud.Table.Get(c.View(), state.Controller, id)
}

func one(_ Service, c facade.Call, e wire.Entity) (wirecloud.CloudResult, error) {
	row, err := find(c, e.Tag)
	if err != nil {
		return wirecloud.CloudResult{}, err
	}
	w := toWire(c.View(), row)
	return wirecloud.CloudResult{Cloud: &w}, nil
}

func info(_ Service, c facade.Call, e wire.Entity) (wirecloud.CloudInfoResult, error) {
	row, err := find(c, e.Tag)
	if err != nil {
		return wirecloud.CloudInfoResult{}, err
	}
	out := &wirecloud.CloudInfo{
		Type: row.Type, AuthTypes: row.AuthTypes, Endpoint: row.Endpoint, Regions: regions(row), Users: []wirecloud.CloudUserInfo{},
	}
	all := c.Holds(authz.Admin, authz.Cloud(row.Name))
	for g, err := range user.Grants.All(c.View(), state.Controller) {
		if err != nil || g.On != user.OnController || g.Level != "superuser" || !all && g.User.Local() != c.Caller.User.Local() {
			continue
		}
		u, err := user.Table.Get(c.View(), state.Controller, string(g.User))
		if err == nil {
			out.Users = append(out.Users, wirecloud.CloudUserInfo{User: string(u.Name), DisplayName: u.DisplayName, Access: "admin"})
		}
	}
	return wirecloud.CloudInfoResult{Result: out}, nil
}

func self(c facade.Call, tag string) error {
	u, err := names.ParseUser(tag)
	if err != nil {
		return bad(err)
	}
	if u.Local() != c.Caller.User.Local() && !c.Holds(authz.Superuser, authz.Controller) {
		return authz.ErrDenied
	}
	return nil
}

func listInfo(_ Service, c facade.Call, a wirecloud.ListCloudsRequest) (wirecloud.ListCloudInfoResults, error) {
	out := wirecloud.ListCloudInfoResults{Results: []wirecloud.ListCloudInfoResult{}}
	if err := self(c, a.UserTag); err != nil {
		return out, err
	}
	for _, row := range usable(c) {
		access := "add-model"
		if c.Holds(authz.Admin, authz.Cloud(row.Name)) {
			access = "admin"
		}
		out.Results = append(out.Results, wirecloud.ListCloudInfoResult{Result: &wirecloud.ListCloudInfo{
			Type: row.Type, AuthTypes: row.AuthTypes, Endpoint: row.Endpoint, Regions: regions(row), UserAccess: access,
		}})
	}
	return out, nil
}

func userCredentials(_ Service, c facade.Call, a wirecloud.UserCloud) (wire.StringsResult, error) {
	return wire.StringsResult{Result: []string{}}, self(c, a.UserTag)
}

type noCredentialError struct{ tag string }

func (e *noCredentialError) Error() string { return fmt.Sprintf("credential %.200q not found", e.tag) }
func (e *noCredentialError) Code() string  { return "not found" }

func credential(_ Service, _ facade.Call, e wire.Entity) (wirecloud.CloudCredentialResult, error) {
	return wirecloud.CloudCredentialResult{}, &noCredentialError{e.Tag}
}

func credentialContents(_ Service, _ facade.Call, a wirecloud.CloudCredentialArgs) (wirecloud.CredentialContentResults, error) {
	out := wirecloud.CredentialContentResults{Results: []wirecloud.CredentialContentResult{}}
	if len(a.Credentials) > facade.MaxItems {
		return out, bad(fmt.Errorf("cannot show %d credentials at once", len(a.Credentials)))
	}
	for _, x := range a.Credentials {
		err := &noCredentialError{x.CloudName + "/" + x.CredentialName}
		out.Results = append(out.Results, wirecloud.CredentialContentResult{Error: facade.ToWire(err)})
	}
	return out, nil
}
