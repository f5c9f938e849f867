package tools

import (
	"errors"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

func statusGet() *Tool {
	return &Tool{
		Name: "status-get", Args: "[--include-data] [--application]", In: Anywhere,
		Purpose: "Print status information.",
		Setup: func(c *Call, f *Flags) func([]string) error {
			out := c.smart(f)
			var data, app bool
			f.Bool(&data, "include-data", "print all status data")
			f.Bool(&app, "application", "print status for all units of this application if this unit is the leader")
			return func(args []string) error {
				if err := noMore(args); err != nil {
					return err
				}
				if app {
					return c.applicationStatus(out, data)
				}
				s := c.Picture.WorkloadStatus
				if data {
					return out.write(statusMap(s))
				}
				if out.format == "smart" {
					return out.write(s.Status)
				}
				return out.write(map[string]any{"status": s.Status})
			}
		},
	}
}

func (c *Call) applicationStatus(out *output, data bool) error {
	if err := c.mustLead(); err != nil {
		return err
	}
	if c.Picture.ApplicationStatus == nil {
		return errors.New("cannot get application status: it was not known when the hook started")
	}
	s := *c.Picture.ApplicationStatus
	if !data && out.format == "smart" {
		return out.write(s.Status)
	}
	units := map[string]any{}
	for name, u := range c.Picture.UnitStatuses {
		units[name] = statusMap(u)
	}
	m := statusMap(s)
	m["units"] = units
	return out.write(map[string]any{"application-status": m})
}

func statusMap(s agentapi.Status) map[string]any {
	data := s.Data
	if data == nil {
		data = map[string]any{}
	}
	return map[string]any{"status": s.Status, "message": s.Message, "status-data": data}
}
