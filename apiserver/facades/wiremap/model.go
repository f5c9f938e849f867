package wiremap

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
)

// ModelKind is the type of every model of this release: machines.
const ModelKind = "iaas"

// Settings turns configuration values of the wire into canonical text.
func Settings(in map[string]any) (map[string]string, error) {
	out := make(map[string]string, len(in))
	for k, v := range in {
		switch x := v.(type) {
		case nil:
			out[k] = ""
		case string:
			out[k] = x
		case bool:
			out[k] = strconv.FormatBool(x)
		case float64:
			out[k] = strconv.FormatFloat(x, 'f', -1, 64)
		case map[string]any, []any:
			raw, err := json.Marshal(x)
			if err != nil {
				return nil, fmt.Errorf("cannot read option %q: %v", k, err)
			}
			out[k] = string(raw)
		default:
			return nil, fmt.Errorf("cannot read option %q: it is neither text, number nor boolean", k)
		}
	}
	return out, nil
}

// Model names a model for lists of models.
func Model(m model.Row) wire.Model {
	return wire.Model{Name: m.Name, UUID: string(m.UUID), Type: ModelKind, OwnerTag: m.Owner.Tag().String()}
}

// LastSeen is when a person was last connected to a model; nil is never.
func LastSeen(r state.Reader, u names.User, m names.Model) *time.Time {
	row, err := user.Sessions.Get(r, state.Controller, string(u.Local())+"/"+string(m))
	if err != nil {
		return nil
	}
	return Time(row.Last)
}

// Machines writes a model's machines with their hardware.
func Machines(r state.Reader, m names.Model) []wire.ModelMachineInfo {
	s := model.ScopeOf(m)
	out := []wire.ModelMachineInfo{}
	for row, err := range machine.Table.All(r, s) {
		if err != nil {
			continue
		}
		st := status.Get(r, s, status.OfMachineAgent(string(row.ID)))
		info := wire.ModelMachineInfo{ID: string(row.ID), Status: st.Status, Message: st.Message}
		if i, err := machine.Instances.Get(r, s, string(row.ID)); err == nil {
			h := Hardware(i)
			info.InstanceID, info.DisplayName, info.Hardware = i.InstanceID, i.DisplayName, &h
		}
		out = append(out, info)
	}
	return out
}

// ModelStatus counts what is in a model.
func ModelStatus(r state.Reader, m model.Row) wire.ModelStatus {
	s := model.ScopeOf(m.UUID)
	out := wire.ModelStatus{
		ModelTag: m.UUID.Tag().String(), Life: string(m.Life), Type: ModelKind, OwnerTag: m.Owner.Tag().String(),
		Machines: Machines(r, m.UUID),
	}
	out.HostedMachineCount = len(out.Machines)
	for a, err := range application.Table.All(r, s) {
		if err == nil {
			out.Applications = append(out.Applications, wire.ModelApplicationInfo{Name: string(a.Name)})
		}
	}
	out.ApplicationCount = len(out.Applications)
	for _, err := range unit.Table.All(r, s) {
		if err == nil {
			out.UnitCount++
		}
	}
	return out
}

// Owned lists the models of a controller that show admits.
func Owned(r state.Reader, u names.User, show func(model.Row) bool) wire.UserModelList {
	out := wire.UserModelList{UserModels: []wire.UserModel{}}
	for m, err := range model.Table.All(r, state.Controller) {
		if err == nil && show(m) {
			out.UserModels = append(out.UserModels, wire.UserModel{Model: Model(m), LastConnection: LastSeen(r, u, m.UUID)})
		}
	}
	return out
}
