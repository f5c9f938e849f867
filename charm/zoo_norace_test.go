//go:build !race

package charm_test

import "time"

// zooTime is how long the refusal of an archive may take.
const zooTime = time.Second
