// Package journal makes a unit's progress survive the death of its agent at any
// moment. It owns two files: "state.json", what the unit has done, replaced as
// a whole; and "journal", the record of the one operation in progress. It
// decides nothing and runs nothing.
//
// An operation passes through Begun (its intent is durable), Ran (the hook has
// succeeded and everything it asked for is durable: it is completed, and never
// runs again) and Flushed (the controller has it, and state.json says so).
//
//	died...                       on disk               after restart
//	before Begun                  nothing               nothing happened; decide anew
//	after Begun, before Ran       Begun                 a hook may have run: it runs again;
//	                                                    an action may have run: it is failed,
//	                                                    "action terminated", and never runs again
//	after Ran, before the flush   Begun, Ran            flush
//	after the flush, before       Begun, Ran            flush again under the same id, which the
//	  Flushed                                           controller answers as the first time
//	after Flushed                 state.json names id   forget the record
//	while writing any record      a torn tail           the record was never written
//	while replacing state.json    the old state.json    as before the replacement
package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/scarab-ops/scarab/agent/unit/decide"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

const (
	stateFile   = "state.json"
	journalFile = "journal"
	// maxFile bounds what is read back; a record holds one flush, whose own
	// limit is 8 MiB, as JSON.
	maxFile = 64 << 20
)

// Step is how far the recorded operation came.
type Step string

// Steps.
const (
	None  Step = ""
	Begun Step = "begun"
	Ran   Step = "ran"
)

// Entry is one operation in progress.
type Entry struct {
	Step Step      `json:"step"`
	ID   string    `json:"id"`
	Op   decide.Op `json:"op"`
	// Commit, Finish and Reboot are what a Ran operation still owes.
	Commit *agentapi.CommitArgs     `json:"commit,omitempty"`
	Finish *agentapi.FinishTaskArgs `json:"finish,omitempty"`
	Reboot bool                     `json:"reboot,omitempty"`
	// StatusSet tells that the charm has set its workload status.
	StatusSet bool `json:"status-set,omitempty"`
}

// State is what state.json holds.
type State struct {
	Local decide.Local `json:"local"`
	// Last is the id of the last operation that Local includes.
	Last string `json:"last"`
	// StatusSet tells that the charm has ever set its workload status.
	StatusSet bool `json:"status-set"`
}

// Config places the journal.
type Config struct {
	Dir string // existing, the agent's alone
	// Fault is called with the name of every step; tests end the process in
	// it. It may be nil.
	Fault func(point string)
}

// Journal is one unit's. It is not safe for concurrent use.
type Journal struct {
	cfg   Config
	file  *os.File
	state State
}

// Open reads what is there. The returned entry is the operation that was in
// progress, its Step None if there was none.
func Open(cfg Config) (*Journal, Entry, error) {
	if cfg.Fault == nil {
		cfg.Fault = func(string) {}
	}
	j := &Journal{cfg: cfg}
	if err := j.readState(); err != nil {
		return nil, Entry{}, err
	}
	path := filepath.Join(cfg.Dir, journalFile)
	data, err := readBounded(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, Entry{}, fmt.Errorf("cannot read journal: %w", err)
	}
	j.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, Entry{}, fmt.Errorf("cannot open journal: %w", err)
	}
	if err := syncDir(cfg.Dir); err != nil {
		_ = j.file.Close()
		return nil, Entry{}, err
	}
	e := last(data)
	if e.ID == j.state.Last {
		e = Entry{}
	}
	return j, e, nil
}

// Close lets go of the files.
func (j *Journal) Close() error { return j.file.Close() }

// State is what the unit has done.
func (j *Journal) State() State { return j.state }

// Begin makes the intent durable. A record of an earlier operation is
// overwritten: state.json includes that one already.
func (j *Journal) Begin(e Entry) error {
	j.cfg.Fault("begin")
	if err := j.file.Truncate(0); err != nil {
		return fmt.Errorf("cannot begin operation: %w", err)
	}
	e.Step = Begun
	err := j.append(e)
	j.cfg.Fault("begun")
	return err
}

// Ran makes the success of a hook, or the end of a task, durable.
func (j *Journal) Ran(e Entry) error {
	j.cfg.Fault("ran-before")
	e.Step = Ran
	err := j.append(e)
	j.cfg.Fault("ran")
	return err
}

// Save replaces state.json. With an id it also ends that operation.
func (j *Journal) Save(local decide.Local, id string, statusSet bool) error {
	s := State{Local: local, Last: j.state.Last, StatusSet: j.state.StatusSet || statusSet}
	if id != "" {
		s.Last = id
	}
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("cannot save unit state: %w", err)
	}
	j.cfg.Fault("save-before")
	if err := replace(filepath.Join(j.cfg.Dir, stateFile), data, j.cfg.Fault); err != nil {
		return fmt.Errorf("cannot save unit state: %w", err)
	}
	j.state = s
	j.cfg.Fault("saved")
	return nil
}

// append writes one line, "<crc32 in hex> <JSON>\n", and waits for the disk.
func (j *Journal) append(e Entry) error {
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("cannot write journal: %w", err)
	}
	line := fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(data), data)
	if _, err := j.file.Write(line); err != nil {
		return fmt.Errorf("cannot write journal: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("cannot write journal: %w", err)
	}
	return nil
}

// last finds the newest whole record; what follows a damaged one is not read.
func last(data []byte) Entry {
	var e Entry
	for {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return e
		}
		data = rest
		sum, body, ok := bytes.Cut(line, []byte(" "))
		want, err := strconv.ParseUint(string(sum), 16, 32)
		if !ok || err != nil || crc32.ChecksumIEEE(body) != uint32(want) {
			return e
		}
		var next Entry
		if err := json.Unmarshal(body, &next); err != nil {
			return e
		}
		e = next
	}
}

func (j *Journal) readState() error {
	data, err := readBounded(filepath.Join(j.cfg.Dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, &j.state)
	}
	if err != nil {
		return fmt.Errorf("cannot read unit state (restore %s from a backup): %w", filepath.Join(j.cfg.Dir, stateFile), err)
	}
	return nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("cannot read %s: larger than %d bytes", path, maxFile)
	}
	return data, err
}

// replace writes a file beside the old one and puts it in its place.
func replace(path string, data []byte, fault func(string)) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	fault("save-rename")
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
