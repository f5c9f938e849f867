package fake

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/provider"
	"github.com/scarab-ops/scarab/provider/providertest"
)

func TestConformance(t *testing.T) {
	b := NewBackend(time.Now)
	providertest.Run(t, func(controller string) provider.Instances { return b.Open(controller) })
}

func TestFailWith(t *testing.T) {
	b := NewBackend(time.Now)
	b.FailWith(func(op string) error {
		if op == "start" {
			return provider.ErrQuota
		}
		return nil
	})
	c := b.Open("c")
	if _, err := c.Start(context.Background(), provider.StartSpec{Key: "m/0", Hostname: "m-0"}); !errors.Is(err, provider.ErrQuota) {
		t.Errorf("got %v", err)
	}
	if list, err := c.List(context.Background()); err != nil || len(list) != 0 {
		t.Errorf("got %v, %v", list, err)
	}
}
