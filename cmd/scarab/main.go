// Command scarab is the client. It only puts the parts together; see package cli.
package main

import (
	"os"

	"github.com/scarab-ops/scarab/bootstrap"
	"github.com/scarab-ops/scarab/cli"
	"github.com/scarab-ops/scarab/cli/session"
)

// version is what other clients of this generation report.
const version = "3.6.12"

func main() {
	os.Exit(cli.Process(cli.Parts{
		Version:   session.Versions{Juju: version, Scarab: bootstrap.Version},
		Bootstrap: local{}, Images: images{},
	}))
}
