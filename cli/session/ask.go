package session

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/scarab-ops/scarab/wire"
)

// errDeclined ends a command whose question was answered with no.
var errDeclined = errors.New("cannot go on: it was not confirmed")

// Confirm asks a yes or no question. Without a terminal it reads one line of input, as scripts pipe it.
func (s *Session) Confirm(question string) error {
	answer, err := s.cfg.Terminal.ReadLine(question + " [y/N] ")
	if errors.Is(err, context.Canceled) {
		return err
	}
	if err != nil {
		return Advise(errors.New("cannot ask for confirmation: there is no input"), "confirm beforehand with --no-prompt")
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errDeclined
}

// ConfirmName asks to type a name, for what cannot be undone.
func (s *Session) ConfirmName(question, name string) error {
	answer, err := s.cfg.Terminal.ReadLine(question + "\nTo continue, enter the name " + fmt.Sprintf("%q", name) + ": ")
	if errors.Is(err, context.Canceled) {
		return err
	}
	if err != nil {
		return Advise(errors.New("cannot ask for confirmation: there is no input"), "confirm beforehand with --no-prompt")
	}
	if strings.TrimSpace(answer) != name {
		return errDeclined
	}
	return nil
}

// MustAsk reads the model's mode: removals are confirmed in mode requires-prompts.
func MustAsk(ctx context.Context, m Conn) (bool, error) {
	conf, err := Do[wire.ModelConfigResults](ctx, m, "ModelConfig", "ModelGet", nil)
	if err != nil {
		return false, err
	}
	v, ok := conf.Config["mode"]
	if !ok {
		return true, nil
	}
	mode, _ := v.Value.(string)
	return strings.Contains(mode, "requires-prompts"), nil
}

// Password asks for a password on the terminal, or takes one line of input when there is none.
func (s *Session) Password(prompt string) (string, error) {
	p, err := s.cfg.Terminal.ReadPassword(prompt)
	if err != nil {
		return "", fmt.Errorf("cannot read the password: %w", err)
	}
	return p, nil
}
