package rpc

import (
	"errors"
	"fmt"
)

// scanLimits bound a document before it is decoded: decoding multiplies
// memory (4 MiB of "[{},{},...]" becomes 100 MiB), counting does not.
type scanLimits struct {
	depth  int
	values int
}

// scan counts brackets and separators in one pass without allocation. It is
// no validator: what passes may still be no JSON.
func scan(b []byte, l scanLimits) error {
	depth, values := 0, 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			end := skipString(b, i+1)
			if end < 0 {
				return errors.New("cannot read document: a string has no end")
			}
			i = end
		case '{', '[':
			depth++
			values++
			if depth > l.depth {
				return fmt.Errorf("cannot read document: it is nested deeper than %d", l.depth)
			}
		case '}', ']':
			depth--
		case ',', ':':
			values++
		}
		if values > l.values {
			return fmt.Errorf("cannot read document: it has more than %d values", l.values)
		}
	}
	return nil
}

// skipString returns the index of the quote that ends the string, or -1.
func skipString(b []byte, i int) int {
	for ; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}
