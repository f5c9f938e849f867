package machine

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// SystemReboot has systemd take the machine down and up again. It returns once
// systemd has agreed to; the end comes as any stop of the agent's service.
func SystemReboot() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "systemctl", "--no-block", "--no-wall", "reboot")
	cmd.Env = []string{"PATH=" + systemPath, "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot reboot by systemd: %w: %.300s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
