// Package storage serves the facade Storage. This release makes no storage, so
// every list is empty, which is the truth, and every change is refused.
package storage

import (
	"fmt"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/refuse"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	wirestorage "github.com/scarab-ops/scarab/wire/storage"
)

// A Service is what the facade needs: nothing.
type Service struct{}

// Endpoints binds the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) {
	read, write := authz.OnModel(authz.Read).Reads(), authz.OnModel(authz.Write)
	lists := read.During(authz.Migrating)
	no, none := refuse.Method[Service], "cannot do that: this release makes no storage"
	return facade.Bind(facade.Facade[Service]{Name: "Storage", Version: 6, Methods: []facade.Method[Service]{
		facade.Each("ListStorageDetails", lists, wirestorage.ListStorageDetailsShape, func(Service, facade.Call, wirestorage.StorageFilter) (wirestorage.StorageDetailsListResult, error) {
			return wirestorage.StorageDetailsListResult{Result: []wire.StorageDetails{}}, nil
		}),
		facade.Each("ListFilesystems", lists, wirestorage.ListFilesystemsShape, func(Service, facade.Call, wirestorage.FilesystemFilter) (wirestorage.FilesystemDetailsListResult, error) {
			return wirestorage.FilesystemDetailsListResult{Result: []wire.FilesystemDetails{}}, nil
		}),
		facade.Each("ListVolumes", lists, wirestorage.ListVolumesShape, func(Service, facade.Call, wirestorage.VolumeFilter) (wirestorage.VolumeDetailsListResult, error) {
			return wirestorage.VolumeDetailsListResult{Result: []wire.VolumeDetails{}}, nil
		}),
		facade.Each("ListPools", read, wirestorage.ListPoolsShape, func(Service, facade.Call, wirestorage.StoragePoolFilter) (wirestorage.StoragePoolsResult, error) {
			return wirestorage.StoragePoolsResult{StoragePools: []wirestorage.StoragePool{}}, nil
		}),
		facade.Each("StorageDetails", read, wirestorage.StorageDetailsShape, details),
		no("AddToUnit", write, none), no("Attach", write, none), no("CreatePool", write, none),
		no("DetachStorage", write, none), no("Import", write, none), no("Remove", write, none),
		no("RemovePool", write, none), no("UpdatePool", write, none),
	}}, s)
}

type missingError struct{ id string }

func (e *missingError) Error() string { return fmt.Sprintf("storage instance %q not found", e.id) }
func (e *missingError) Code() string  { return "not found" }

func details(_ Service, _ facade.Call, e wire.Entity) (wirestorage.StorageDetailsResult, error) {
	id, err := names.Parse(e.Tag, names.KindStorage)
	if err != nil {
		return wirestorage.StorageDetailsResult{}, &facade.BadRequest{Reason: err.Error()}
	}
	return wirestorage.StorageDetailsResult{}, &missingError{id}
}
