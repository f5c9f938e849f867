// Command testsum runs `go test -json` with the arguments it is given, shows
// failures with their output, and ends with one line:
//
//	NAME: N passed, N failed
//
// A test that is skipped counts as failed with -no-skip, because a check that
// did not run has not passed. It exits 1 if anything failed or nothing ran.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

type tally struct {
	passed, failed int
	skipped        []string
	output         map[string][]string
	verbose        bool
	noSkip         bool
	out            io.Writer
}

func main() {
	name := flag.String("name", "test", "name in the closing line")
	noSkip := flag.Bool("no-skip", false, "count skipped tests as failed")
	verbose := flag.Bool("v", false, "print the output of tests that pass, too")
	plain := flag.String("plain", "", "a package to test afterwards, without the flags")
	flag.Parse()
	runs := [][]string{flag.Args()}
	if *plain != "" {
		runs = append(runs, []string{*plain})
	}
	start := time.Now() //nolint:forbidigo // a tool for people
	t := &tally{output: map[string][]string{}, verbose: *verbose, noSkip: *noSkip, out: os.Stdout}
	for _, args := range runs {
		if err := t.run(args); err != nil {
			fmt.Fprintln(os.Stderr, "ERROR cannot run go test:", err)
			os.Exit(1)
		}
	}
	os.Exit(t.close(*name, time.Since(start))) //nolint:forbidigo // a tool for people
}

// run adds one run of go test to the tally.
func (t *tally) run(args []string) error {
	before := t.failed
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	in := bufio.NewScanner(pipe)
	in.Buffer(make([]byte, 1<<20), 16<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			fmt.Fprintln(t.out, in.Text())
			continue
		}
		t.take(e)
	}
	if err := cmd.Wait(); err != nil && t.failed == before {
		t.failed++
	}
	return nil
}

// close prints the sums and returns the exit code.
func (t *tally) close(name string, took time.Duration) int {
	for _, s := range slices.Sorted(slices.Values(t.skipped)) {
		fmt.Fprintln(t.out, "SKIPPED", s)
	}
	fmt.Fprintf(t.out, "took %s\n", took.Round(time.Second))
	fmt.Fprintf(t.out, "%s: %d passed, %d failed\n", name, t.passed, t.failed)
	if t.failed > 0 || t.passed == 0 {
		return 1
	}
	return 0
}

// keep bounds the lines of output remembered for one test.
const keep = 400

func (t *tally) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		if lines := t.output[key]; len(lines) < keep {
			t.output[key] = append(lines, e.Output)
		}
		if t.verbose && e.Test != "" && !strings.HasPrefix(strings.TrimSpace(e.Output), "===") {
			fmt.Fprint(t.out, e.Output)
		}
	case "pass":
		if e.Test != "" {
			t.passed++
		} else {
			fmt.Fprintf(t.out, "ok    %s (%.1fs)\n", e.Package, e.Elapsed)
		}
		delete(t.output, key)
	case "skip":
		if e.Test == "" {
			break // a package without tests
		}
		t.skipped = append(t.skipped, key)
		if t.noSkip {
			t.failed++
		}
	case "fail", "build-fail":
		t.failed++
		fmt.Fprintf(t.out, "FAIL  %s\n%s\n", key, strings.Join(t.output[key], ""))
		delete(t.output, key)
	}
}
