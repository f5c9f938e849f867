package tools

func actionFail() *Tool {
	return &Tool{
		Name: "action-fail", Args: `["<failure message>"]`, In: Actions,
		Purpose: "Set the action's status to failed, with a message.",
		Doc:     "The action goes on until its script ends; what was set with action-set is kept.",
		Setup: func(c *Call, _ *Flags) func([]string) error {
			return func(args []string) error {
				msg := "action failed without reason given, check action for errors"
				if len(args) > 0 {
					msg, args = args[0], args[1:]
				}
				if err := noMore(args); err != nil {
					return err
				}
				c.Task.Failed, c.Task.Message = true, msg
				return nil
			}
		},
	}
}
