package hostd

import (
	"errors"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/provider"
)

func TestLimitsFitTheHost(t *testing.T) {
	for name, x := range map[string]struct{ want, host, mem int64 }{
		"as asked":         {1024, 8000, 1024},
		"all of it":        {8000, 8000, 8000},
		"nothing asked":    {0, 8000, 8000 - hostReserve},
		"a small host":     {0, 600, 300},
		"a silent host":    {0, 0, 0},
		"asked of silence": {900 << 10, 0, 900 << 10},
	} {
		l, err := limitsOf(&provider.Constraints{MemMiB: x.want, Cores: 3, RootDiskMiB: 4096}, x.host)
		if err != nil || l.MemMiB != x.mem || l.Cores != 3 || l.DiskMiB != 4096 {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
	_, err := limitsOf(&provider.Constraints{MemMiB: 900 << 10}, 8000)
	if !errors.Is(err, provider.ErrBadSpec) || !strings.Contains(err.Error(), "this host has 8000M") {
		t.Errorf("more than the host has: %v", err)
	}
}
