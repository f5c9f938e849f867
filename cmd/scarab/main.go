// Command scarab is the client. It only puts the parts together; see package cli.
package main

import (
	"math"
	"os"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/bootstrap"
	"github.com/scarab-ops/scarab/cli"
	"github.com/scarab-ops/scarab/cli/session"
)

// version is what other clients of this generation report.
const version = "3.6.12"

func main() {
	// A file or lock that the caller left open must not live on in the
	// supervisor that bootstrap starts. Kernels without the call keep the old way.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	os.Exit(cli.Process(cli.Parts{
		Version:   session.Versions{Juju: version, Scarab: bootstrap.Version},
		Bootstrap: local{}, Images: images{},
	}))
}
