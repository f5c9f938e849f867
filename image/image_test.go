package image

import (
	"context"
	"testing"
	"time"
)

func TestEnsureDefault(t *testing.T) {
	s := Store{Dir: DefaultDir}
	began := time.Now()
	img, err := s.Ensure(context.Background(), Default, func(step string) { t.Logf("%6.1f %s", time.Since(began).Seconds(), step) })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", img)
}
