package tlspolicy

import "testing"

// BenchmarkSelfTest shows what a process pays at its start.
func BenchmarkSelfTest(b *testing.B) {
	for b.Loop() {
		if err := SelfTest(); err != nil {
			b.Fatal(err)
		}
	}
}
