package tools

// All lists every tool, sorted by name.
func All() []*Tool {
	return []*Tool{
		actionFail(),
		actionGet(),
		actionLog(),
		actionSet(),
		applicationVersionSet(),
		closePort(),
		configGet(),
		goalState(),
		isLeader(),
		jujuLog(),
		jujuReboot(),
		leaderGet(),
		leaderSet(),
		networkGet(),
		openPort(),
		openedPorts(),
		relationGet(),
		relationIDs(),
		relationList(),
		relationModelGet(),
		relationSet(),
		stateDelete(),
		stateGet(),
		stateSet(),
		statusGet(),
		statusSet(),
		unitGet(),
	}
}
