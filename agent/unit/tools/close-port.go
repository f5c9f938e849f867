package tools

import "github.com/scarab-ops/scarab/wire/agentapi"

func closePort() *Tool {
	return portTool("close-port", "Register a request to close a port or port range.",
		"The port is closed once the hook succeeds. Closing what is not open changes nothing.",
		func(c *Call, list []agentapi.PortRange) error {
			for _, p := range list {
				if err := c.Effects.ClosePort(p); err != nil {
					return err
				}
			}
			return nil
		})
}
