package container

import "errors"

func becomeProcess() error { return errors.New("x") }
