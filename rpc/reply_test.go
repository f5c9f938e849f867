package rpc

import (
	"encoding/json"
	"math"
	"testing"
)

// A reply is, byte for byte, what its type encodes to.
func TestMarshalReplyIsTheType(t *testing.T) {
	for _, result := range []any{
		nil,
		struct{}{},
		map[string]any(nil), json.RawMessage("null"),
		[]int{},
		"a<b>&\u2028\"\n",
		map[string]any{"x": []any{1, 2.5, nil, true}, "<": json.RawMessage(" { \"y\" : 1 } ")},
		struct {
			A string `json:"a,omitempty"`
		}{},
	} {
		for _, id := range []uint64{1, 42, math.MaxUint64} {
			want := reply{ID: id, Response: emptyObject}
			inner, err := json.Marshal(result)
			if err != nil {
				t.Fatal(err)
			}
			if string(inner) != "null" {
				want.Response = inner
			}
			text, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := marshalReply(id, result, nil)
			if err != nil || string(got) != string(text) {
				t.Errorf("%v: got %s and %v, want %s", result, got, err, text)
			}
		}
	}
}
