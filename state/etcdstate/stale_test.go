package etcdstate_test

import (
	"context"

	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/state/etcdstate"
)

// staleWatch holds the watch up after the first load, until resume is closed.
type staleWatch struct {
	*etcdstate.Backend
	loaded, resume chan struct{}
}

func (s *staleWatch) Watch(ctx context.Context, f func(state.Batch)) error {
	return s.Backend.Watch(ctx, func(b state.Batch) {
		f(b)
		if s.loaded != nil {
			close(s.loaded)
			s.loaded = nil
			<-s.resume
		}
	})
}
