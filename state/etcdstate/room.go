package etcdstate

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// maxHistory is how many bytes may be written before history is forgotten, and
// keepRevisions what of it is kept. By number alone, as etcd does it, a thousand
// revisions of large rows would fill the disk in a minute.
const (
	maxHistory    = 64 << 20
	keepRevisions = 20
)

// wrote counts what a commit has written, and asks for room now and then.
func (b *Backend) wrote(rows map[string][]byte) {
	n := 0
	for k, v := range rows {
		n += len(k) + len(v)
	}
	if b.written.Add(int64(n)) > maxHistory {
		b.written.Store(0)
		b.ask()
	}
}

func (b *Backend) ask() {
	select {
	case b.full <- struct{}{}:
	default:
	}
}

// keepShort forgets history whenever asked, until ctx ends, and makes a store
// writable again that was full of it.
func (b *Backend) keepShort(ctx context.Context) {
	for {
		if err := b.makeRoom(ctx); err != nil && ctx.Err() == nil {
			b.log.Warn("cannot make room in the store", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-b.full:
		}
	}
}

func (b *Backend) makeRoom(ctx context.Context) error {
	rev := b.etcd.Server.KV().Rev() - keepRevisions
	if rev > b.etcd.Server.KV().FirstRev() {
		if _, err := b.client.Compact(ctx, rev, clientv3.WithCompactPhysical()); err != nil {
			return fmt.Errorf("cannot forget history: %w", err)
		}
	}
	if len(b.etcd.Server.Alarms()) == 0 {
		return nil
	}
	if err := b.etcd.Server.Backend().Defrag(); err != nil {
		return fmt.Errorf("cannot shrink the database: %w", err)
	}
	if b.etcd.Server.Backend().Size() >= b.quota {
		return fmt.Errorf("cannot write: %d bytes are stored", b.etcd.Server.Backend().Size())
	}
	if _, err := b.client.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		return fmt.Errorf("cannot lift the alarm: %w", err)
	}
	return nil
}
