// Command bench measures what Scarab costs over what it cannot cost less than:
// each measurement runs both sides in turn, in the same run, and compares the
// medians. Times differ from machine to machine, ratios much less.
//
// It owns the targets. It refuses to guess: a measurement that could not be
// made counts as failed, as one does that is over its target.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/scarab-ops/scarab/container"
)

// A measurement has a name for -only, and gives its lines.
type measurement struct {
	name string
	run  func(*bench) ([]line, error)
}

func measurements() []measurement {
	return []measurement{
		{"hooktool", hookTool},
		{"sizes", sizes},
		{"commit", commit},
		{"status", fullStatus},
		{"notify", notify},
		{"idle", idle},
		{"start", start},
		{"machine", machines},
		{"unit", deployUnit},
	}
}

// A bench is one run of measurements.
type bench struct {
	*tb
	ctx  context.Context
	runs int
	bin  string // where the programs are
}

func main() {
	if container.IsInit(os.Args) {
		container.InitMain()
	}
	if len(os.Args) > 2 && os.Args[1] == roleArg {
		os.Exit(role(os.Args[2], os.Args[3:]))
	}
	os.Exit(run())
}

func run() int {
	only := flag.String("only", "", "comma-separated `names` of measurements; all if empty")
	runs := flag.Int("runs", 7, "`times` that each side is measured")
	profile := flag.String("cpuprofile", "", "write a profile of this process to `file`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	bin, err := programs()
	if err == nil && *profile != "" {
		err = startProfile(*profile)
		defer pprof.StopCPUProfile()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ERROR", err)
		return 1
	}
	passed, failed := 0, 0
	for _, m := range measurements() {
		if *only != "" && !contains(strings.Split(*only, ","), m.name) {
			continue
		}
		begun := time.Now()
		lines, err := measure(ctx, m, max(*runs, 1), bin)
		for _, l := range lines {
			fmt.Println(l)
			switch {
			case l.target == 0: // for information
			case l.ok():
				passed++
			default:
				failed++
			}
		}
		if err != nil {
			failed++
			fmt.Printf("FAIL  %-9s cannot measure: %v\n", m.name, err)
		}
		if ctx.Err() != nil {
			break
		}
		fmt.Fprintf(os.Stderr, "      %s took %s\n", m.name, time.Since(begun).Round(time.Millisecond))
	}
	fmt.Printf("bench: %d passed, %d failed\n", passed, failed)
	if failed > 0 || passed == 0 {
		return 1
	}
	return 0
}

// measure makes one measurement with a folder and resources of its own.
func measure(ctx context.Context, m measurement, runs int, bin string) (lines []line, err error) {
	t := newTB(ctx, m.name)
	defer func() { err = t.finish(recover(), err) }()
	lines, err = m.run(&bench{t, ctx, runs, bin})
	for i := range lines {
		lines[i].name = m.name
	}
	return lines, err
}

// programs finds the folder of the built programs.
func programs() (string, error) {
	bin := os.Getenv("SCARAB_BIN")
	if bin == "" {
		bin = "bin"
	}
	bin, err := filepath.Abs(bin)
	if err == nil {
		_, err = os.Stat(filepath.Join(bin, "scarab-hooktool"))
	}
	if err != nil {
		return "", fmt.Errorf("cannot find the programs: run `make build` first, or set SCARAB_BIN: %w", err)
	}
	return bin, nil
}

func startProfile(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("cannot write the profile: %w", err)
	}
	return pprof.StartCPUProfile(f)
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if strings.TrimSpace(x) == s {
			return true
		}
	}
	return false
}
