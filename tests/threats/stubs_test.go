package threats_test

func clientParts() []part  { return nil }
func floodParts() []part   { return nil }
func networkParts() []part { return nil }
func agentParts() []part   { return nil }
