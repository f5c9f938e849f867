// Package toolproto is the private protocol between a hook tool and its unit
// agent: one request, one reply, length-prefixed, over a unix socket. It owns
// the byte form and its limits, nothing else. It imports almost nothing, so
// that the tool binary stays small and starts fast.
//
// A request that needs input (standard input, or a file named by a flag) is
// answered with the name of what is needed; the tool opens it, as its own
// user, and asks again. The agent never opens a file for a tool, neither to
// read nor to write.
package toolproto

import (
	"errors"
	"io"
)

// Limits, checked before anything is allocated.
const (
	MaxArgs   = 8192
	MaxArg    = 2 << 20
	MaxInput  = 8 << 20
	MaxOutput = 16 << 20
	// maxFrame bounds a whole request or reply.
	maxFrame = MaxOutput + MaxInput
)

// TokenSize is the length of a context's token in bytes; it travels as hex.
const TokenSize = 32

// Names of the environment variables the tool reads.
const (
	EnvContext = "JUJU_CONTEXT_ID"
	EnvAddress = "JUJU_AGENT_SOCKET_ADDRESS"
	EnvNetwork = "JUJU_AGENT_SOCKET_NETWORK"
	EnvToken   = "JUJU_AGENT_TOKEN"
)

// Exit codes of the tool's own failures.
const (
	ExitOK      = 0
	ExitFailure = 1
	ExitUsage   = 2
)

const version = 1

// ErrMalformed reports bytes that are not a message of this protocol.
var ErrMalformed = errors.New("cannot read message: malformed")

// ErrTooLarge reports a message over a limit.
var ErrTooLarge = errors.New("cannot use message: too large")

// A Request is one call of a tool.
type Request struct {
	ContextID string
	Token     string // hex
	Dir       string // the tool's working directory
	Command   string
	Args      []string
	// HasInput tells that Input holds the content of InputName.
	HasInput  bool
	InputName string // "-" is standard input
	Input     []byte
}

// A Reply ends a call, or asks for input.
type Reply struct {
	Code   int
	Stdout []byte
	Stderr []byte
	// NeedInput asks for the request to be repeated with the content of
	// InputName.
	NeedInput bool
	InputName string
	// OutFile, when not empty, is where the tool writes Stdout.
	OutFile string
}

// WriteRequest sends a request in one write.
func WriteRequest(w io.Writer, r *Request) error {
	if len(r.Args) > MaxArgs || len(r.Input) > MaxInput {
		return ErrTooLarge
	}
	e := encoder{b: make([]byte, 4, 512+len(r.Input))}
	e.byte(version)
	e.str(r.ContextID)
	e.str(r.Token)
	e.str(r.Dir)
	e.str(r.Command)
	e.num(len(r.Args))
	for _, a := range r.Args {
		e.str(a)
	}
	e.bool(r.HasInput)
	e.str(r.InputName)
	e.bytes(r.Input)
	return e.send(w)
}

// ReadRequest reads one request.
func ReadRequest(rd io.Reader) (*Request, error) {
	d, err := receive(rd)
	if err != nil {
		return nil, err
	}
	r := &Request{}
	if d.byte() != version {
		return nil, ErrMalformed
	}
	r.ContextID, r.Token, r.Dir, r.Command = d.str(MaxArg), d.str(MaxArg), d.str(MaxArg), d.str(MaxArg)
	n := d.num()
	if n > MaxArgs {
		return nil, ErrTooLarge
	}
	for i := 0; i < n && !d.bad; i++ {
		r.Args = append(r.Args, d.str(MaxArg))
	}
	r.HasInput = d.byte() == 1
	r.InputName = d.str(MaxArg)
	r.Input = d.bytes(MaxInput)
	return r, d.end()
}

// WriteReply sends a reply in one write.
func WriteReply(w io.Writer, r *Reply) error {
	if len(r.Stdout) > MaxOutput || len(r.Stderr) > MaxInput {
		return ErrTooLarge
	}
	e := encoder{b: make([]byte, 4, 64+len(r.Stdout)+len(r.Stderr))}
	e.byte(version)
	e.num(r.Code)
	e.bytes(r.Stdout)
	e.bytes(r.Stderr)
	e.bool(r.NeedInput)
	e.str(r.InputName)
	e.str(r.OutFile)
	return e.send(w)
}

// ReadReply reads one reply.
func ReadReply(rd io.Reader) (*Reply, error) {
	d, err := receive(rd)
	if err != nil {
		return nil, err
	}
	if d.byte() != version {
		return nil, ErrMalformed
	}
	r := &Reply{Code: d.num(), Stdout: d.bytes(MaxOutput), Stderr: d.bytes(MaxInput)}
	r.NeedInput = d.byte() == 1
	r.InputName = d.str(MaxArg)
	r.OutFile = d.str(MaxArg)
	return r, d.end()
}

type encoder struct{ b []byte }

func (e *encoder) byte(c byte) { e.b = append(e.b, c) }

func (e *encoder) bool(v bool) {
	if v {
		e.byte(1)
		return
	}
	e.byte(0)
}

func (e *encoder) num(n int) {
	e.b = append(e.b, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func (e *encoder) str(s string) {
	e.num(len(s))
	e.b = append(e.b, s...)
}

func (e *encoder) bytes(p []byte) {
	e.num(len(p))
	e.b = append(e.b, p...)
}

func (e *encoder) send(w io.Writer) error {
	n := len(e.b) - 4
	if n > maxFrame {
		return ErrTooLarge
	}
	e.b[0], e.b[1], e.b[2], e.b[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	_, err := w.Write(e.b)
	return err
}

type decoder struct {
	b   []byte
	bad bool
}

// receive reads a frame in pieces, so that a false length costs the sender
// the bytes and not us the memory.
func receive(rd io.Reader) (*decoder, error) {
	var head [4]byte
	if _, err := io.ReadFull(rd, head[:]); err != nil {
		return nil, err
	}
	n := int(head[0])<<24 | int(head[1])<<16 | int(head[2])<<8 | int(head[3])
	if n > maxFrame {
		return nil, ErrTooLarge
	}
	buf := make([]byte, 0, min(n, 64<<10))
	for len(buf) < n {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(n, 2*cap(buf)))
			copy(grown, buf)
			buf = grown
		}
		k, err := rd.Read(buf[len(buf):min(n, cap(buf))])
		buf = buf[:len(buf)+k]
		if err != nil && len(buf) < n {
			return nil, err
		}
	}
	return &decoder{b: buf}, nil
}

func (d *decoder) take(n int) []byte {
	if d.bad || n < 0 || n > len(d.b) {
		d.bad = true
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) byte() byte {
	p := d.take(1)
	if p == nil {
		return 0
	}
	return p[0]
}

func (d *decoder) num() int {
	p := d.take(4)
	if p == nil {
		return 0
	}
	return int(p[0])<<24 | int(p[1])<<16 | int(p[2])<<8 | int(p[3])
}

func (d *decoder) bytes(limit int) []byte {
	n := d.num()
	if n > limit {
		d.bad = true
		return nil
	}
	return d.take(n)
}

func (d *decoder) str(limit int) string { return string(d.bytes(limit)) }

func (d *decoder) end() error {
	if d.bad || len(d.b) != 0 {
		return ErrMalformed
	}
	return nil
}
