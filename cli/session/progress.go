package session

import (
	"fmt"
	"time"

	"github.com/scarab-ops/scarab/cli/output"
)

// Progress shows the steps of long work with the time each took. On a terminal the running step is redrawn in place;
// elsewhere every step is one plain line when it ends.
type Progress struct {
	s       *Session
	started time.Time
	step    time.Time            // when the last one began
	begun   map[string]time.Time // steps that have not ended, which may have parts that are shown
	open    string
}

// maxSteps bounds the steps whose beginnings are kept.
const maxSteps = 256

// Progress begins to show steps.
func (s *Session) Progress() *Progress {
	now := s.cfg.Now()
	return &Progress{s: s, started: now, step: now, begun: map[string]time.Time{}}
}

// Begin notes when a step begins whose parts are shown in its place.
func (p *Progress) Begin(name string) { p.begun[name] = p.s.cfg.Now() }

// Report takes one step, begun or done. The time of one that ends is counted from where it began, whatever was shown since.
func (p *Progress) Report(st Step) {
	if p.s.quiet {
		return
	}
	term := p.s.cfg.Terminal.StderrIsTerminal()
	now := p.s.cfg.Now()
	if !st.Done && st.Err == nil {
		p.open, p.step = st.Name, now
		if _, twice := p.begun[st.Name]; !twice && len(p.begun) < maxSteps {
			p.begun[st.Name] = now
		}
		if term {
			fmt.Fprintf(p.s.Stderr.Raw(), "\r\x1b[K  ... %s", output.Escape(st.Name))
		} else {
			p.s.Info("- %s", st.Name)
		}
		return
	}
	mark := "ok "
	if st.Err != nil {
		mark = "ERR"
	}
	since, known := p.begun[st.Name]
	if !known {
		since = p.step
	}
	delete(p.begun, st.Name)
	line := fmt.Sprintf("%s %s (%s)", mark, st.Name, output.Short(now.Sub(since)))
	if st.Note != "" {
		line += ": " + st.Note
	}
	if term {
		fmt.Fprintf(p.s.Stderr.Raw(), "\r\x1b[K  %s\n", output.Escape(line))
	} else {
		p.s.Info("  %s", line)
	}
	p.open = ""
}

// Waiting redraws what is being waited for; elsewhere than on a terminal it prints a line only when the text changed.
func (p *Progress) Waiting(text string) {
	if p.s.quiet {
		return
	}
	if p.s.cfg.Terminal.StderrIsTerminal() {
		elapsed := output.Short(p.s.cfg.Now().Sub(p.started))
		fmt.Fprintf(p.s.Stderr.Raw(), "\r\x1b[K  %s (%s)", output.Escape(text), elapsed)
		p.open = text
		return
	}
	if text != p.open {
		p.s.Info("%s", text)
		p.open = text
	}
}

// End leaves the line.
func (p *Progress) End() {
	if p.open != "" && p.s.cfg.Terminal.StderrIsTerminal() && !p.s.quiet {
		fmt.Fprint(p.s.Stderr.Raw(), "\r\x1b[K")
	}
	p.open = ""
}

// Elapsed is the time since the beginning.
func (p *Progress) Elapsed() time.Duration { return p.s.cfg.Now().Sub(p.started) }
