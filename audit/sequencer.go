package audit

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/scarab-ops/scarab/state"
)

// head is the row that remembers how far the chain goes.
type head struct {
	ID string `json:"id"` // always "head"
	Head
}

// heads is written by the sequencer only.
var heads = state.Table[head]{Kind: "audit-head", ID: func(h head) string { return h.ID }}

// ReadHead returns how far the store says that the chain goes.
func ReadHead(r state.Reader) (Head, error) {
	h, err := heads.Get(r, state.Controller, "head")
	var nf *state.NotFoundError
	if errors.As(err, &nf) {
		return Head{0, origin}, nil
	}
	return h.Head, err
}

// Config says where the chain goes. Zero limits mean the defaults.
type Config struct {
	Store *state.Store
	Dir   string            // made if absent, 0700
	Key   *ecdsa.PrivateKey // signs checkpoints; P-384
	Now   func() time.Time
	// SegmentBytes is the size after which a new segment begins (16 MiB).
	SegmentBytes int64
	// MaxBytes of all segments (1 GiB). Past it nothing more is moved: records
	// stay in the store and Alarm is raised, until an operator has taken
	// segments away or raised the limit. Nothing is ever lost for lack of room.
	MaxBytes int64
	// CheckpointEvery is the longest time between a record and the checkpoint
	// after it (1 minute); a segment ends with a checkpoint too.
	CheckpointEvery time.Duration
	// Alarm is told when records cannot be moved; required.
	Alarm func(error)
}

// batch bounds the records moved by one step.
const batch = 200

// A Sequencer moves records from the store into the chain. One may run at a
// time over all controllers: whoever starts it holds the lease.
type Sequencer struct {
	cfg    Config
	root   *os.Root
	f      *os.File
	name   string
	size   int64 // of the open segment
	total  int64 // of all segments
	head   Head
	signed int64               // number that the newest checkpoint is about
	moved  map[string]struct{} // ids that are in the chain and may still be in the store
}

// Open verifies the chain that is there and prepares to go on with it. A chain
// that is broken is an error that names the first bad record: it is for an
// operator to decide what to do about it.
func Open(cfg Config) (*Sequencer, error) {
	if cfg.Key == nil || cfg.Key.Curve != elliptic.P384() || cfg.Alarm == nil || cfg.Now == nil || cfg.Store == nil {
		return nil, errors.New("cannot open audit chain: store, P-384 key, clock and alarm are needed")
	}
	if cfg.SegmentBytes == 0 {
		cfg.SegmentBytes = 16 << 20
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 1 << 30
	}
	if cfg.CheckpointEvery == 0 {
		cfg.CheckpointEvery = time.Minute
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot open audit chain: %w", err)
	}
	if err := os.Chmod(cfg.Dir, 0o700); err != nil { //nolint:gosec // a directory needs x
		return nil, fmt.Errorf("cannot open audit chain: %w", err)
	}
	root, err := os.OpenRoot(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open audit chain: %w", err)
	}
	s := &Sequencer{cfg: cfg, root: root, moved: map[string]struct{}{}}
	err = s.resume()
	if err == nil {
		err = s.publish()
	}
	if err != nil {
		_ = root.Close()
		return nil, err
	}
	return s, nil
}

// KeyFile, beside the segments, holds the public key of the checkpoints. It is
// for convenience: who doubts the directory needs a copy from elsewhere.
const KeyFile = "checkpoints.pem"

func (s *Sequencer) publish() error {
	der, err := x509.MarshalPKIXPublicKey(&s.cfg.Key.PublicKey)
	if err == nil {
		err = s.root.WriteFile(KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot write the public key of the audit chain: %w", err)
	}
	return nil
}

func (s *Sequencer) resume() error {
	names, err := segments(s.root)
	if err != nil {
		return fmt.Errorf("cannot open audit chain: %w", err)
	}
	names, err = s.mend(names)
	if err != nil {
		return fmt.Errorf("cannot open audit chain: %w", err)
	}
	want, err := ReadHead(s.cfg.Store.View())
	if err != nil {
		return fmt.Errorf("cannot open audit chain: %w", err)
	}
	pending := map[string]struct{}{}
	for r, err := range Table.All(s.cfg.Store.View(), state.Controller) {
		if err == nil {
			pending[r.ID] = struct{}{}
		}
	}
	v := &verifier{pub: &s.cfg.Key.PublicKey, want: &want, head: Head{0, origin}, seen: func(id string) {
		if _, ok := pending[id]; ok {
			s.moved[id] = struct{}{}
		}
	}}
	for _, n := range names {
		if err := v.segment(s.root, n); err != nil {
			return err
		}
		info, err := s.root.Stat(n)
		if err != nil {
			return fmt.Errorf("cannot open audit chain: %w", err)
		}
		s.total += info.Size()
	}
	if v.head.N < want.N {
		return &BadRecord{Segment: last(names), N: v.head.N + 1, Reason: fmt.Sprintf("records up to %d are missing at the end", want.N)}
	}
	s.head = v.head
	return s.rotate()
}

// mend removes the unfinished last line that a crash may have left: its records
// are still in the store, as rows go only after a line is durable. A segment
// that has no whole line goes altogether.
func (s *Sequencer) mend(names []string) ([]string, error) {
	if len(names) == 0 {
		return names, nil
	}
	name := names[len(names)-1]
	raw, err := s.root.ReadFile(name)
	if err != nil {
		return nil, err
	}
	end := bytes.LastIndexByte(raw, '\n') + 1
	if end == len(raw) && end > 0 {
		return names, nil
	}
	if end == 0 {
		return names[:len(names)-1], s.root.Remove(name)
	}
	f, err := s.root.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return names, errors.Join(f.Truncate(int64(end)), f.Sync(), f.Close())
}

// rotate closes the open segment and names the next; the file is made when
// there is something to write.
func (s *Sequencer) rotate() error {
	if f := s.f; f != nil {
		s.f = nil
		if err := f.Close(); err != nil {
			return fmt.Errorf("cannot end audit segment: %w", err)
		}
	}
	s.name, s.size = fmt.Sprintf("audit-%016d.jsonl", s.head.N+1), 0
	return nil
}

// Close closes the open segment.
func (s *Sequencer) Close() error {
	var err error
	if s.f != nil {
		err = s.f.Close()
	}
	return errors.Join(err, s.root.Close())
}

// Run moves records as they come until ctx ends, signing as it goes and once
// more at the end.
func (s *Sequencer) Run(ctx context.Context) error {
	sub := s.cfg.Store.Subscribe(Table.Keys(state.Controller))
	defer sub.Close()
	sign := time.NewTicker(s.cfg.CheckpointEvery)
	defer sign.Stop()
	var again <-chan time.Time
	for {
		if err := s.Step(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Alarm(err)
			again = time.After(5 * time.Second)
		}
		select {
		case <-ctx.Done():
			return s.Sign()
		case <-s.cfg.Store.Done():
			return errors.Join(s.Sign(), s.cfg.Store.Err())
		case <-sub.C():
			sub.Take()
		case <-again:
			again = nil
		case <-sign.C:
			if err := s.Sign(); err != nil {
				s.cfg.Alarm(err)
			}
		}
	}
}

// Step moves what is in the store now.
func (s *Sequencer) Step(ctx context.Context) error {
	for {
		rs, err := s.next()
		if err != nil || len(rs) == 0 {
			return err
		}
		if err := s.append(rs); err != nil {
			return fmt.Errorf("cannot move audit records, they stay in the store: %w", err)
		}
		if err := s.prune(ctx, rs); err != nil {
			return fmt.Errorf("cannot prune audit records: %w", err)
		}
	}
}

func (s *Sequencer) next() ([]Record, error) {
	var rs []Record
	for r, err := range Table.All(s.cfg.Store.View(), state.Controller) {
		if err != nil {
			return nil, fmt.Errorf("cannot move audit record: %w", err)
		}
		if rs = append(rs, r); len(rs) == batch {
			break
		}
	}
	return rs, nil
}

// append writes the records and makes them durable, before any row goes.
func (s *Sequencer) append(rs []Record) error {
	if s.total >= s.cfg.MaxBytes {
		return fmt.Errorf("audit segments take %d bytes, the limit is %d: archive old segments or raise it", s.total, s.cfg.MaxBytes)
	}
	var buf bytes.Buffer
	at := s.head
	for _, r := range rs {
		if _, ok := s.moved[r.ID]; ok {
			continue
		}
		raw, err := json.Marshal(r)
		if err != nil {
			return err
		}
		l := line{N: at.N + 1, Prev: at.Hash, Hash: chainHash(at.Hash, at.N+1, raw), Record: raw}
		if err := encode(&buf, &l); err != nil {
			return err
		}
		at = Head{l.N, l.Hash}
	}
	if err := s.write(buf.Bytes()); err != nil {
		return err
	}
	for _, r := range rs {
		s.moved[r.ID] = struct{}{}
	}
	s.head = at
	if s.size >= s.cfg.SegmentBytes {
		return s.endSegment()
	}
	return nil
}

func encode(buf *bytes.Buffer, l *line) error {
	raw, err := json.Marshal(l)
	if err != nil {
		return err
	}
	buf.Write(raw)
	return buf.WriteByte('\n')
}

// write makes p durable at the end of the segment, or leaves the segment as it
// was.
func (s *Sequencer) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if err := s.begin(); err != nil {
		return err
	}
	_, err := s.f.Write(p)
	if err == nil {
		err = s.f.Sync()
	}
	if err != nil {
		return errors.Join(err, s.f.Truncate(s.size))
	}
	s.size += int64(len(p))
	s.total += int64(len(p))
	return nil
}

// begin makes the segment's file if there is none yet.
func (s *Sequencer) begin() error {
	if s.f != nil {
		return nil
	}
	f, err := s.root.OpenFile(s.name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	dir, err := s.root.Open(".")
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.f = f
	return nil
}

// prune deletes the rows that are durable now, and remembers the head in the
// same transaction.
func (s *Sequencer) prune(ctx context.Context, rs []Record) error {
	err := s.cfg.Store.Update(ctx, func(tx *state.Tx) error {
		for _, r := range rs {
			var nf *state.NotFoundError
			if err := Table.Delete(tx, state.Controller, r.ID); err != nil && !errors.As(err, &nf) {
				return err
			}
		}
		return heads.Put(tx, state.Controller, head{"head", s.head})
	})
	if err != nil {
		return err
	}
	for _, r := range rs {
		delete(s.moved, r.ID)
	}
	return nil
}

func (s *Sequencer) endSegment() error {
	if err := s.Sign(); err != nil {
		return err
	}
	return s.rotate()
}

// Sign writes a checkpoint if there are records after the last one.
func (s *Sequencer) Sign() error {
	if s.head.N == 0 || s.signed == s.head.N {
		return nil
	}
	c := &Checkpoint{N: s.head.N, Hash: s.head.Hash, Time: s.cfg.Now().UTC()}
	sig, err := ecdsa.SignASN1(rand.Reader, s.cfg.Key, c.digest())
	if err != nil {
		return fmt.Errorf("cannot sign audit checkpoint: %w", err)
	}
	c.Signature = sig
	var buf bytes.Buffer
	if err := encode(&buf, &line{Checkpoint: c}); err != nil {
		return fmt.Errorf("cannot sign audit checkpoint: %w", err)
	}
	if err := s.write(buf.Bytes()); err != nil {
		return fmt.Errorf("cannot write audit checkpoint: %w", err)
	}
	s.signed = s.head.N
	return nil
}

// Head returns how far the chain goes.
func (s *Sequencer) Head() Head { return s.head }
