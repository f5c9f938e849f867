package machines

import (
	"strings"
	"testing"
)

func TestProgramOptions(t *testing.T) {
	for in, want := range map[string]string{
		"":                               " | ",
		"uptime -p":                      " | uptime -p",
		"-- uptime -p":                   " | uptime -p",
		"-v -L 8080:localhost:80 uptime": "-v -L 8080:localhost:80 | uptime",
		"-L8080:localhost:80 -N":         "-L8080:localhost:80 -N | ",
		"-vi key -- ls -l":               "-vi key | ls -l",
		"--weird":                        " | --weird",
		"- x":                            " | - x",
	} {
		opts, rest, err := programOptions(strings.Fields(in), sshValues)
		if got := strings.Join(opts, " ") + " | " + strings.Join(rest, " "); err != nil || got != want {
			t.Errorf("%q became %q, %v; want %q", in, got, err, want)
		}
	}
	if _, _, err := programOptions([]string{"-i"}, sshValues); err == nil {
		t.Error("an option without its value was taken")
	}
}
