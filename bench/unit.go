package main

import "errors"

func deployUnit(b *bench) ([]line, error) { return nil, errors.New("x") }
