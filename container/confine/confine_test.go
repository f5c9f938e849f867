package confine

import "testing"

func TestSeccompProgramFits(t *testing.T) {
	for name, r := range map[string]Rules{"system": System(), "plain": Plain()} {
		n := len(r.program())
		if n < 50 || n > 4096 { // the kernel's limit
			t.Errorf("the filter of %s has %d instructions", name, n)
		}
	}
}
