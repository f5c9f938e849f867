package session

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/scarab-ops/scarab/cli/output"
)

// Fail prints an error and its advice, and returns the exit code: 2 for a wrong command line, 1 for everything else.
func (s *Session) Fail(err error) int {
	var exit *ExitError
	colour := s.Colour() && s.cfg.Terminal.StderrIsTerminal()
	if errors.As(err, &exit) {
		if exit.Text != "" {
			fmt.Fprintf(s.Stderr.Raw(), "%s %s\n", output.Paint("ERROR", output.Bad, colour), output.Escape(exit.Text))
		}
		return exit.Code
	}
	text := strings.Join(strings.Split(err.Error(), "\n"), "; ")
	if errors.Is(err, context.Canceled) {
		text = "cannot finish: it was interrupted"
		var left interface{ Unfinished() string }
		if errors.As(err, &left) { // what was begun is still there: that must not be hidden
			text += "; " + left.Unfinished()
		}
	}
	fmt.Fprintf(s.Stderr.Raw(), "%s %s\n", output.Paint("ERROR", output.Bad, colour), output.Escape(text))
	if hint := s.advice(err); hint != "" {
		fmt.Fprintf(s.Stderr.Raw(), "%s %s\n", output.Paint("hint:", output.Info, colour), output.Escape(hint))
	}
	var usage *Usage
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

func (s *Session) advice(err error) string {
	var advised interface{ Advice() string }
	if errors.As(err, &advised) {
		return advised.Advice()
	}
	switch Code(err) {
	case "unauthorized access":
		return "you lack the rights for this; ask an administrator of the model or controller to grant them"
	case "operation is blocked":
		return "somebody blocked changes of this kind on the model; see its blocks with an administrator before lifting them"
	case "not found":
		return "see what there is: scarab status"
	case "already exists":
		return "choose another name, or see what there is: scarab status"
	case "model not found":
		return "the model is gone; see the ones there are: scarab models"
	case "upgrade in progress":
		return "the controller is busy with an upgrade; try again in a minute"
	case "try again":
		return "the controller is busy; try again in a moment"
	}
	var usage *Usage
	if errors.As(err, &usage) {
		return strings.TrimSpace("see the help: scarab help " + s.command)
	}
	return ""
}
