package toolproto

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	req := &Request{ContextID: "c", Token: "t", Dir: "/d", Command: "x", Args: []string{"a", "", "b"}, HasInput: true, InputName: "-", Input: []byte("in")}
	var b bytes.Buffer
	if err := WriteRequest(&b, req); err != nil {
		t.Fatal(err)
	}
	got, err := ReadRequest(&b)
	if err != nil || !reflect.DeepEqual(got, req) {
		t.Fatalf("got %+v, %v", got, err)
	}
	rep := &Reply{Code: 2, Stdout: []byte("o"), Stderr: []byte("e"), NeedInput: true, InputName: "f", OutFile: "g"}
	if err := WriteReply(&b, rep); err != nil {
		t.Fatal(err)
	}
	gotRep, err := ReadReply(&b)
	if err != nil || !reflect.DeepEqual(gotRep, rep) {
		t.Fatalf("got %+v, %v", gotRep, err)
	}
}

func TestLimits(t *testing.T) {
	if err := WriteRequest(&bytes.Buffer{}, &Request{Input: make([]byte, MaxInput+1)}); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("large input: %v", err)
	}
	if err := WriteRequest(&bytes.Buffer{}, &Request{Args: make([]string, MaxArgs+1)}); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("many args: %v", err)
	}
	if _, err := ReadRequest(bytes.NewReader([]byte{0x7f, 0xff, 0xff, 0xff, 1})); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("large frame: %v", err)
	}
	if _, err := ReadRequest(bytes.NewReader([]byte{0, 0, 0, 6, 1, 0, 0, 0, 99, 1})); !errors.Is(err, ErrMalformed) {
		t.Fatalf("lying length: %v", err)
	}
}

func FuzzReadRequest(f *testing.F) {
	var b bytes.Buffer
	if err := WriteRequest(&b, &Request{ContextID: "c", Args: []string{"x"}}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := ReadRequest(bytes.NewReader(p))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := WriteRequest(&out, r); err != nil {
			t.Fatalf("cannot write what was read: %v", err)
		}
	})
}
