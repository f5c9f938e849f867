package audit

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// A line is one line of a segment: a record in its place in the chain, or a
// checkpoint.
type line struct {
	N          int64           `json:"n,omitempty"`
	Prev       string          `json:"prev,omitempty"` // hash of the record before
	Hash       string          `json:"hash,omitempty"`
	Record     json.RawMessage `json:"record,omitempty"`
	Checkpoint *Checkpoint     `json:"checkpoint,omitempty"`
}

// A Checkpoint is a signed statement of how far the chain went.
type Checkpoint struct {
	N         int64     `json:"n"`
	Hash      string    `json:"hash"`
	Time      time.Time `json:"time"`
	Signature []byte    `json:"signature"` // ECDSA, ASN.1, over message()
}

// maxLine bounds a line of a segment: a record is at most some 100 KiB.
const maxLine = 1 << 20

// origin is what the first record follows.
var origin = strings.Repeat("0", 2*sha512.Size384)

func chainHash(prev string, n int64, record []byte) string {
	h := sha512.New384()
	h.Write([]byte("scarab audit record\n" + prev + "\n"))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
	h.Write(record)
	return hex.EncodeToString(h.Sum(nil))
}

func (c *Checkpoint) digest() []byte {
	sum := sha512.Sum384(fmt.Appendf(nil, "scarab audit checkpoint\n%d\n%s\n%d\n", c.N, c.Hash, c.Time.UnixNano()))
	return sum[:]
}

// A Head says how far a chain goes. It is kept in the store as well, so that a
// chain that was cut off at its end is found out.
type Head struct {
	N    int64  `json:"n"`
	Hash string `json:"hash"`
}

// A BadRecord names the first entry of a chain that is not as it was written.
type BadRecord struct {
	Segment string
	Line    int
	N       int64  // number the entry should have
	ID      string // of the record, if it can be read
	Reason  string
}

// Error names segment, line and reason.
func (e *BadRecord) Error() string {
	return fmt.Sprintf("audit chain is broken at %s line %d (record %d %s): %s", e.Segment, e.Line, e.N, e.ID, e.Reason)
}

// A Report says what a chain that was verified holds, and how much of it a
// signature vouches for.
type Report struct {
	Head     Head
	Segments int
	// Signed is the number of the newest record that a checkpoint covers.
	Signed   int64
	SignedAt time.Time
	// Unsigned is when the first record after that was made; zero if there is
	// none. Someone without the key can make such records.
	Unsigned time.Time
}

// Verify reads every segment in dir and returns where the chain ends, and a
// [BadRecord] for the first entry that is wrong. want, when not nil, is the
// head that the chain must reach at least.
func Verify(dir string, pub *ecdsa.PublicKey, want *Head) (Head, error) {
	r, err := Inspect(dir, pub, want)
	return r.Head, err
}

// Inspect is [Verify] that tells more.
func Inspect(dir string, pub *ecdsa.PublicKey, want *Head) (Report, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Report{}, fmt.Errorf("cannot verify audit chain: %w", err)
	}
	defer root.Close()
	names, err := segments(root)
	if err != nil {
		return Report{}, fmt.Errorf("cannot verify audit chain: %w", err)
	}
	v := &verifier{pub: pub, want: want, head: Head{0, origin}}
	for _, name := range names {
		if err := v.segment(root, name); err != nil {
			return v.report(len(names)), err
		}
	}
	if want != nil && v.head.N < want.N {
		return v.report(len(names)), &BadRecord{Segment: last(names), N: v.head.N + 1, Reason: fmt.Sprintf("records up to %d are missing at the end", want.N)}
	}
	return v.report(len(names)), nil
}

func last(names []string) string {
	if len(names) == 0 {
		return "(no segment)"
	}
	return names[len(names)-1]
}

type verifier struct {
	pub  *ecdsa.PublicKey
	want *Head
	head Head
	seen func(id string) // may be nil

	signed   int64
	signedAt time.Time
	unsigned time.Time
}

func (v *verifier) report(segments int) Report {
	return Report{v.head, segments, v.signed, v.signedAt, v.unsigned}
}

func (v *verifier) segment(root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return fmt.Errorf("cannot verify audit chain: %w", err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(make([]byte, 0, 64<<10), maxLine)
	n := 0
	for sc.Scan() {
		n++
		if id, reason := v.line(sc.Bytes()); reason != "" {
			return &BadRecord{name, n, v.head.N + 1, id, reason}
		}
	}
	if err := sc.Err(); err != nil {
		return &BadRecord{Segment: name, Line: n + 1, N: v.head.N + 1, Reason: err.Error()}
	}
	if n == 0 {
		return &BadRecord{Segment: name, Line: 1, N: v.head.N + 1, Reason: "segment is empty"}
	}
	return nil
}

// line checks one line and moves the head; it returns why the line is wrong.
func (v *verifier) line(raw []byte) (id, reason string) {
	var l line
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return "", "line cannot be read"
	}
	if l.Checkpoint != nil {
		return "", v.checkpoint(&l)
	}
	var r Record
	if err := json.Unmarshal(l.Record, &r); err != nil {
		return "", "record cannot be read"
	}
	switch {
	case l.N != v.head.N+1:
		return r.ID, fmt.Sprintf("has number %d: a record is missing, repeated or moved", l.N)
	case l.Prev != v.head.Hash:
		return r.ID, "does not follow the record before it"
	case l.Hash != chainHash(l.Prev, l.N, l.Record):
		return r.ID, "was changed: its hash is wrong"
	}
	if again, err := json.Marshal(l); err != nil || !bytes.Equal(again, raw) {
		return r.ID, "was changed: its form is not the one written"
	}
	v.head = Head{l.N, l.Hash}
	if v.unsigned.IsZero() {
		v.unsigned = r.Time
	}
	if v.want != nil && v.want.N == l.N && v.want.Hash != l.Hash {
		return r.ID, "is not the record that the store remembers: the chain was rewritten"
	}
	if v.seen != nil {
		v.seen(r.ID)
	}
	return r.ID, ""
}

func (v *verifier) checkpoint(l *line) string {
	c := l.Checkpoint
	switch {
	case l.Record != nil || l.Hash != "":
		return "line is record and checkpoint in one"
	case c.N != v.head.N || c.Hash != v.head.Hash:
		return "checkpoint is not about the record before it"
	case v.pub != nil && !ecdsa.VerifyASN1(v.pub, c.digest(), c.Signature):
		return "checkpoint has a wrong signature"
	}
	v.signed, v.signedAt, v.unsigned = c.N, c.Time, time.Time{}
	return ""
}

// segments lists the segment files in order.
func segments(root *os.Root) ([]string, error) {
	es, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range es {
		if strings.HasPrefix(e.Name(), "audit-") && strings.HasSuffix(e.Name(), ".jsonl") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Export copies every segment, in order, to w: the copy that another place may
// keep and verify.
func Export(dir string, w io.Writer) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("cannot export audit chain: %w", err)
	}
	defer root.Close()
	names, err := segments(root)
	if err != nil {
		return fmt.Errorf("cannot export audit chain: %w", err)
	}
	for _, n := range names {
		if err := copyFile(root, n, w); err != nil {
			return fmt.Errorf("cannot export audit chain: %w", err)
		}
	}
	return nil
}

func copyFile(root *os.Root, name string, w io.Writer) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return errors.Join(err, f.Close())
}
