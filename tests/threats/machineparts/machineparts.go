// Package machineparts lists the parts of the threat matrix that need real
// machines. It owns the list alone: tests/realm has the attacks, because it is
// the one package that may use a host's ordinary cloud beside other tests;
// tests/threats counts them, and builds the programs anew without a control to
// show that each can fail.
package machineparts

// Test is the name of the test in tests/realm whose subtests are the parts, as
// Test/ROW/NAME.
const Test = "TestThreat"

// A Part is one attack of a row of the matrix.
type Part struct{ Row, Name, Title string }

// ID is how mutants and results name the part.
func (p Part) ID() string { return p.Row + "/" + p.Name }

// All is every part, in the order in which they run on the same machines:
// those that look come first, those that break things last, and what is left
// of it all is looked at in the end.
func All() []Part {
	return []Part{
		{"P3-10", "host", "while a controller is made and while it runs, the kernel of a real host knows one open port of ours, over TCP and UDP, IPv4 and IPv6; from a machine, of all 65,535 that one answers"},
		{"P3-11", "host", "the API answers on the machines' network and the loopback, on no other address of the host"},
		{"P3-12", "host", "of all 65,535 ports of the host's addresses none is a database's or a peer's"},
		{"P4-02", "machine", "with the system's trust store a machine's programs do not trust the controller, with its own CA they do"},
		{"P4-06", "charm", "the sample charms' keys are RSA of 4096 bits, made on the unit, of mode 0600, and in no relation, log or file of the controller"},
		{"P3-31", "machine", "a real port is shut before expose, open then for the networks named alone, and shut again in 10 s, for open connections too"},
		{"P4-03", "machine", "two machines between which every packet is dropped: relation data goes both ways"},
		{"F-SSH-AG-I", "ssh", "the first connection is led to another machine of ours, whose host key is genuine and which would let us in: refused; nothing is learned for the next time"},
		{"A-AGENT-C", "memory", "a stranger on a machine: environment, memory, descriptors and command line of the agent, and every file of the machine: none holds its key, password or token; it is not dumpable"},
		{"A-WL-C", "metadata", "a service at the metadata address, routed by the host as by a cloud: no user of a machine reaches it; the workload's user reads nobody's data"},
		{"A-UNIT-C", "machine", "a charm with a user of its own beside another whose hook runs: neither in its hook nor as its user does it see the other's files, environment or socket, nor is it answered with the other's own token"},
		{"A-WL-I", "machine", "every hook tool there is, called by the workload's user with the context and token of a running hook, stolen or guessed: refused, and no answer holds the token"},
		{"F-AG-CHARM-C", "machine", "inotify, ptrace and a look at every process during many hooks: no token, no relation data, nothing attached"},
		{"A-UNIT-A", "machine", "fork bomb, 4 GiB, endless loop, endless output, a million files in hooks of a real machine: each ends at its limit, the neighbour's hooks run, the agent is there, host and controller stay as they were"},
		{"A-AGENT-A", "kill", "SIGKILL at random points: the agent is back each time, no hook that completed runs again, workload, service and data stay"},
		{"A-WL-A", "outage", "controller and supervisor killed and away: the workload answers every one of its callers, and the agents come back by themselves"},
		{"K-TLS", "links", "every connection of all the parts, recorded packet by packet: with the controller all are TLS 1.3 with AES-256-GCM; our programs listen and dial nowhere else; machines use declared links only"},
		{"K-FSPERM", "agent", "after all of it: what agents keep in real machines is root's alone, but for what is declared"},
		{"K-FSPERM", "client", "after all of it, with umask 0: the client's files are 0600 in folders of 0700, and it refuses a folder that others can write to"},
	}
}
