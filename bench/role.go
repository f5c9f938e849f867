package main

import (
	"fmt"
	"os"
)

// roleArg begins the command line of this program when it plays a part in its
// own measurements.
const roleArg = "bench-role"

// role plays a part: the bare store, the supervisor of a host, or the first process of a bare machine.
func role(name string, args []string) int {
	var err error
	switch name {
	case "store":
		err = storeRole(args[0])
	case "host":
		err = hostRole(args)
	case "bare":
		err = bareRole()
	default:
		err = fmt.Errorf("cannot play %q", name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ERROR", err)
		return 1
	}
	return 0
}
