package threats_test

func storeParts() []part    { return nil }
func blobParts() []part     { return nil }
func charmParts() []part    { return nil }
func wireParts() []part     { return nil }
func clientParts() []part   { return nil }
func floodParts() []part    { return nil }
func relationParts() []part { return nil }
func enrolParts() []part    { return nil }
func networkParts() []part  { return nil }
func agentParts() []part    { return nil }
