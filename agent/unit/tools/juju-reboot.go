package tools

import "errors"

func jujuReboot() *Tool {
	return &Tool{
		Name: "juju-reboot", In: Hooks,
		Purpose: "Reboot the machine.",
		Doc:     "Without --now the machine reboots once the hook has succeeded. With --now the hook is ended at once and runs again after the reboot.",
		Setup: func(c *Call, f *Flags) func([]string) error {
			var now bool
			f.Bool(&now, "now", "Reboot immediately, ending the hook")
			return func(args []string) error {
				if err := noMore(args); err != nil {
					return err
				}
				if !c.CanReboot {
					return errors.New("cannot reboot: this machine cannot be rebooted from inside")
				}
				if now {
					c.RebootNow()
					return nil
				}
				c.Effects.Reboot = true
				return nil
			}
		},
	}
}
