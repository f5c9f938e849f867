package main

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"

	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/state/etcdstate"
)

// counting remembers how many bytes the last commit wrote.
type counting struct {
	state.Backend
	last atomic.Int64
}

// Commit implements state.Backend.
func (c *counting) Commit(ctx context.Context, x state.Commit) (int64, error) {
	n := 0
	for k, v := range x.Writes {
		n += len(k) + len(v)
	}
	c.last.Store(int64(n))
	return c.Backend.Commit(ctx, x)
}

// commit compares a change that was read, checked, committed and is seen by
// the next reader with a raw put of the same bytes into a bare store.
func commit(b *bench) ([]line, error) {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	inner, err := etcdstate.Open(ctx, etcdstate.Config{Dir: filepath.Join(b.TempDir(), "ours")})
	if err != nil {
		return nil, err
	}
	defer func() { _ = inner.Close() }()
	backend := &counting{Backend: inner}
	st, err := state.Open(ctx, backend)
	if err != nil {
		return nil, err
	}
	raw, stop, err := bareStore(filepath.Join(b.TempDir(), "bare"))
	if err != nil {
		return nil, err
	}
	defer stop()
	client := v3client.New(raw.Server)
	defer func() { _ = client.Close() }()
	scope := state.Model("4c0b6a57-26c4-4f3b-8f02-0a6c0f4d9b12")
	n := 0
	change := func() error {
		n++
		words := []string{"active", "maintenance"}
		return st.Update(ctx, func(tx *state.Tx) error {
			return status.Set(tx, scope, status.OfWorkload("web/0"), status.Entry{Status: words[n%2], Message: "serving", Since: time.Now()})
		})
	}
	put := func() error {
		_, err := client.Put(ctx, "/raw", strings.Repeat("x", int(backend.last.Load())))
		return err
	}
	l, err := b.pair("status change committed over a raw put of the same bytes", 1.5, 50, 100*b.runs, timed(change), timed(put))
	return []line{l}, err
}

// bareStore starts etcd with no listener and nothing of ours around it, as
// quick to elect itself as ours is.
func bareStore(dir string) (*embed.Etcd, func(), error) {
	c := embed.NewConfig()
	c.Dir, c.Name = dir, "bare"
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	c.ListenClientUrls, c.ListenClientHttpUrls, c.ListenPeerUrls, c.ListenMetricsUrls = nil, nil, nil, nil
	c.AdvertiseClientUrls[0].Host, c.AdvertisePeerUrls[0].Host = "127.0.0.1:0", "127.0.0.1:0"
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.EnableGRPCGateway = false
	c.MaxRequestBytes = 32 << 20
	c.TickMs, c.ElectionMs = 25, 125
	e, err := embed.StartEtcd(c)
	if err != nil {
		return nil, nil, err
	}
	select {
	case <-e.Server.ReadyNotify():
		return e, e.Close, nil
	case err = <-e.Err():
	case <-time.After(time.Minute):
		err = context.DeadlineExceeded
	}
	e.Close()
	return nil, nil, err
}
