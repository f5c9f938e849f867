// Package block serves the facade Block: the commands that are disabled on a
// model.
package block

import (
	"strconv"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/block"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wireblock "github.com/scarab-ops/scarab/wire/block"
)

// A Service is what the facade needs: nothing but the call's own state.
type Service struct{}

// Endpoints binds the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) {
	write := authz.OnModel(authz.Write).Changes()
	return facade.Bind(facade.Facade[Service]{Name: "Block", Version: 2, Methods: []facade.Method[Service]{
		facade.None("List", authz.OnModel(authz.Read).Reads(), list),
		facade.One("SwitchBlockOn", write, on),
		facade.One("SwitchBlockOff", write, off),
	}}, s)
}

func list(_ Service, c facade.Call) (wireblock.BlockResults, error) {
	out := wireblock.BlockResults{Results: []wireblock.BlockResult{}}
	for _, b := range block.All(c.View(), model.ScopeOf(c.Caller.Model)) {
		out.Results = append(out.Results, wireblock.BlockResult{Result: wireblock.Block{
			ID: strconv.Itoa(b.ID), Tag: c.Caller.Model.Tag().String(), Type: string(b.Type), Message: b.Message,
		}})
	}
	return out, nil
}

func on(_ Service, c facade.Call, a wireblock.BlockSwitchParams) (wire.ErrorResult, error) {
	return change(c, func(tx *state.Tx, s state.Scope) error { return block.On(tx, s, block.Type(a.Type), a.Message) })
}

func off(_ Service, c facade.Call, a wireblock.BlockSwitchParams) (wire.ErrorResult, error) {
	return change(c, func(tx *state.Tx, s state.Scope) error { return block.Off(tx, s, block.Type(a.Type)) })
}

func change(c facade.Call, f func(*state.Tx, state.Scope) error) (wire.ErrorResult, error) {
	err := c.Update(func(tx *state.Tx) error {
		m, err := model.Get(tx, c.Caller.Model) // lifting a block can help a dying model on
		if err != nil {
			return err
		}
		return f(tx, model.ScopeOf(m.UUID))
	})
	return wire.ErrorResult{}, err
}
