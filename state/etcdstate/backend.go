// Package etcdstate keeps state in an etcd that runs inside this process. No
// other package imports etcd.
//
// It owns the data directory and the translation of commits and watches. With
// its single member it opens no socket at all, neither for clients nor for
// peers: whoever wants in must be in this process or read the files, and those
// are for their owner only. It refuses a data directory that another process
// has open, and commits past the limits of package state.
package etcdstate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/state"
)

const (
	readyTimeout = 60 * time.Second
	quota        = 4 << 30 // bytes; of history and rows; state refuses rows long before
	pageRows     = 2000    // rows of one page of the first load
	pageProbe    = "/"     // a key that is never stored; see Commit

	// Room for the frame around the largest transaction, keys and compares included.
	maxRequest = state.MaxTx + 2*state.MaxTxRows*(state.MaxID+128)
	// Compares and operations are counted apart; either may be rows and ranges.
	maxOps = 4 * state.MaxTxRows
)

// Config is what Open needs.
type Config struct {
	Dir    string // data directory, made with mode 0700 when absent
	Name   string // member name; "controller-0" when empty
	Logger *slog.Logger
	Quota  int64 // bytes of the database; 0 means enough for what state takes
}

// Backend implements state.Backend on an etcd in this process.
type Backend struct {
	etcd   *embed.Etcd
	client *clientv3.Client
	lock   *os.File
	log    *slog.Logger
	quota  int64

	written atomic.Int64  // bytes since history was last forgotten
	full    chan struct{} // asks to make room
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// Open starts etcd on cfg.Dir and returns when it serves.
func Open(ctx context.Context, cfg Config) (*Backend, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Name == "" {
		cfg.Name = "controller-0"
	}
	if cfg.Quota <= 0 {
		cfg.Quota = quota
	}
	lock, err := prepare(cfg.Dir)
	if err != nil {
		return nil, err
	}
	e, err := embed.StartEtcd(settings(cfg))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start etcd in %s: %w", cfg.Dir, err), lock.Close())
	}
	b := &Backend{etcd: e, lock: lock, log: cfg.Logger, quota: cfg.Quota, full: make(chan struct{}, 1)}
	timeout := time.NewTimer(readyTimeout)
	defer timeout.Stop()
	select {
	case <-e.Server.ReadyNotify():
		b.client = v3client.New(e.Server)
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		b.stop = cancel
		b.done.Go(func() { b.keepShort(ctx) })
		return b, nil
	case err = <-e.Err():
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-timeout.C:
		err = fmt.Errorf("it did not become ready in %s; the disk may be too slow", readyTimeout)
	}
	return nil, errors.Join(fmt.Errorf("cannot start etcd in %s: %w", cfg.Dir, err), b.Close())
}

// prepare makes the data directory private and takes its lock.
func prepare(dir string) (*os.File, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("cannot use data directory %q: want an absolute path", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make data directory: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory needs x
		return nil, fmt.Errorf("cannot make data directory private: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock data directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot lock %s, another process has it open: %w", dir, err), lock.Close())
	}
	return lock, nil
}

func settings(cfg Config) *embed.Config {
	c := embed.NewConfig()
	c.Dir = filepath.Join(cfg.Dir, "etcd")
	c.Name = cfg.Name
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapTo(cfg.Logger))

	// No listeners. The URLs only name the member in its own records.
	self := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c.ListenClientUrls, c.ListenClientHttpUrls, c.ListenPeerUrls, c.ListenMetricsUrls = nil, nil, nil, nil
	c.AdvertiseClientUrls, c.AdvertisePeerUrls = self, self
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.EnableGRPCGateway = false

	c.MaxRequestBytes = maxRequest
	c.MaxTxnOps = maxOps
	c.QuotaBackendBytes = cfg.Quota

	// One member elects itself; it need not wait long for others.
	c.TickMs, c.ElectionMs = 25, 125

	// The log is in memory since the last snapshot, and a little more for slow
	// followers: keep both short. History serves the watch only.
	c.SnapshotCount, c.SnapshotCatchUpEntries = 2000, 200
	c.MaxSnapFiles, c.MaxWalFiles = 2, 2
	c.AutoCompactionMode, c.AutoCompactionRetention = "revision", "1000"
	c.WatchProgressNotifyInterval = time.Minute
	c.WarningApplyDuration = time.Second
	c.WarningUnaryRequestDuration = 2 * time.Second
	return c
}

// Close stops etcd. Commits and watches in flight end with an error.
func (b *Backend) Close() error {
	var err error
	if b.client != nil {
		b.stop()
		b.done.Wait()
		err = b.client.Close()
		if errors.Is(err, context.Canceled) { // how the client says that it is closed
			err = nil
		}
	}
	b.etcd.Close()
	return errors.Join(err, b.lock.Close())
}

// Commit implements state.Backend.
func (b *Backend) Commit(ctx context.Context, c state.Commit) (int64, error) {
	if len(c.Keys)+len(c.Ranges) == 0 && len(c.Writes) == 1 {
		for k, v := range c.Writes {
			if v != nil {
				return b.putBlind(ctx, k, v)
			}
		}
	}
	ifs := make([]clientv3.Cmp, 0, len(c.Keys)+len(c.Ranges))
	for k, mod := range c.Keys {
		ifs = append(ifs, clientv3.Compare(clientv3.ModRevision(k), "=", mod))
	}
	for p := range c.Ranges {
		ifs = append(ifs, clientv3.Compare(clientv3.ModRevision(p).WithPrefix(), "<", c.At+1))
	}
	ops := make([]clientv3.Op, 0, len(c.Writes)+1)
	for k, v := range c.Writes {
		if v == nil {
			ops = append(ops, clientv3.OpDelete(k))
		} else {
			ops = append(ops, clientv3.OpPut(k, string(v)))
		}
	}
	if len(ops) == 0 {
		// etcd takes a transaction without a single linearizable read for one
		// that may be answered from a stale member: so make one.
		ops = append(ops, clientv3.OpGet(pageProbe, clientv3.WithCountOnly()))
	}
	defer b.wrote(c.Writes)
	resp, err := b.client.Txn(ctx).If(ifs...).Then(ops...).Commit()
	if err != nil {
		return 0, b.explain(err)
	}
	if !resp.Succeeded {
		return resp.Header.Revision, state.ErrConflict
	}
	return resp.Header.Revision, nil
}

// putBlind stores one row that depends on nothing: a plain put costs etcd less.
func (b *Backend) putBlind(ctx context.Context, key string, val []byte) (int64, error) {
	defer b.wrote(map[string][]byte{key: val})
	resp, err := b.client.Put(ctx, key, string(val))
	if err != nil {
		return 0, b.explain(err)
	}
	return resp.Header.Revision, nil
}

func (b *Backend) explain(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace):
		b.ask()
		return fmt.Errorf("the store is full (%d bytes): remove models that are no longer needed, then try again: %w", b.quota, err)
	case errors.Is(err, rpctypes.ErrRequestTooLarge), strings.Contains(err.Error(), "too large"):
		return fmt.Errorf("%w: %w", state.ErrTooLarge, err)
	}
	return err
}

// Watch implements state.Backend with one watch of all keys. When the watch has
// fallen behind what etcd still remembers, it loads everything anew.
func (b *Backend) Watch(ctx context.Context, f func(state.Batch)) error {
	for {
		rev, err := b.load(ctx, f)
		if err != nil {
			return err
		}
		if err := b.follow(ctx, rev, f); !errors.Is(err, rpctypes.ErrCompacted) {
			return err
		}
	}
}

// load hands over everything stored at one revision. The pages bound what is
// held twice.
func (b *Backend) load(ctx context.Context, f func(state.Batch)) (int64, error) {
	all := state.Batch{Reset: true}
	from := "\x00"
	for {
		opts := []clientv3.OpOption{clientv3.WithFromKey(), clientv3.WithLimit(pageRows), clientv3.WithRev(all.Rev)}
		resp, err := b.client.Get(ctx, from, opts...)
		if errors.Is(err, rpctypes.ErrCompacted) { // while loading: begin again
			all, from = state.Batch{Reset: true}, "\x00"
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("cannot load state from etcd: %w", err)
		}
		if all.Rev == 0 {
			all.Rev = resp.Header.Revision
		}
		for _, kv := range resp.Kvs {
			all.Rows = append(all.Rows, state.Row{Key: string(kv.Key), Val: kv.Value, Mod: kv.ModRevision})
		}
		if !resp.More {
			f(all)
			return all.Rev, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

func (b *Backend) follow(ctx context.Context, rev int64, f func(state.Batch)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opts := []clientv3.OpOption{clientv3.WithFromKey(), clientv3.WithRev(rev + 1), clientv3.WithProgressNotify()}
	for resp := range b.client.Watch(ctx, "\x00", opts...) {
		if err := resp.Err(); err != nil {
			return fmt.Errorf("lost the etcd watch: %w", err)
		}
		if resp.IsProgressNotify() {
			f(state.Batch{Rev: resp.Header.Revision})
			continue
		}
		deliver(resp.Events, f)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.New("lost the etcd watch: etcd has stopped")
}

// deliver hands over events revision by revision. The revision in the header of
// a response is that of the store when it was sent, with more events perhaps to
// follow: only the events themselves say how far the watch has come.
func deliver(events []*clientv3.Event, f func(state.Batch)) {
	var batch state.Batch
	for _, ev := range events {
		if ev.Kv.ModRevision != batch.Rev && len(batch.Rows) > 0 {
			f(batch)
			batch.Rows = nil
		}
		batch.Rev = ev.Kv.ModRevision
		row := state.Row{Key: string(ev.Kv.Key), Val: ev.Kv.Value, Mod: ev.Kv.ModRevision}
		if ev.Type == mvccpb.Event_DELETE {
			row.Val = nil
		}
		batch.Rows = append(batch.Rows, row)
	}
	if len(batch.Rows) > 0 {
		f(batch)
	}
}

// Snapshot writes a consistent copy of the database to w, with a digest at its
// end, in the form that etcd's own tools restore.
func (b *Backend) Snapshot(ctx context.Context, w io.Writer) error {
	r, err := b.client.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("cannot take a snapshot: %w", err)
	}
	defer r.Close()
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("cannot write the snapshot: %w", err)
	}
	return nil
}

// Compact forgets the history before rev.
func (b *Backend) Compact(ctx context.Context, rev int64) error {
	if _, err := b.client.Compact(ctx, rev); err != nil {
		return fmt.Errorf("cannot compact: %w", err)
	}
	return nil
}
