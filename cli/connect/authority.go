package connect

import (
	"context"

	"github.com/scarab-ops/scarab/client"
)

// Authority implements session.Dialer.
func (d *Dialer) Authority(ctx context.Context, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	return client.Authority(ctx, address)
}
