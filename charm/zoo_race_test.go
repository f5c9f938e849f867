//go:build race

package charm_test

import "time"

// The race detector makes the decoders several times as slow.
const zooTime = 5 * time.Second
