package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// packages are what authors of charms expect of a cloud's image.
func packages() []string {
	return []string{
		"ca-certificates", "curl", "dbus", "iproute2", "iputils-ping", "libpam-systemd", "netbase", "openssh-server",
		"openssl", "python3", "python3-yaml", "sudo", "systemd-sysv", "tmux",
	}
}

// suiteOf is Debian's name of a release that can be built.
func suiteOf(name string) (string, error) {
	switch name {
	case "debian@11":
		return "bullseye", nil
	case "debian@12":
		return "bookworm", nil
	case "debian@13":
		return "trixie", nil
	}
	return "", fmt.Errorf("cannot build image %s: only releases of Debian can be built, add others as a tarball: %w", name, ErrNotFound)
}

// Suite is the name apt uses for an image's release; empty if apt is not ours
// to configure in it.
func Suite(name string) string {
	suite, err := suiteOf(name)
	if err != nil {
		return ""
	}
	return suite
}

const (
	sshUnit = `[Service]
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
`
	sshConf = `PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
`
	journalConf = "[Journal]\nSystemMaxUse=64M\nRuntimeMaxUse=16M\n"
	sudoers     = "ubuntu ALL=(ALL) NOPASSWD:ALL\n"
	// A machine is made anew from a new image rather than upgraded at night.
	aptConf = "APT::Periodic::Enable \"0\";\n"
)

// customize is run by mmdebstrap at the end, $1 being the new root. Nothing in
// it comes from outside.
func customize(overlay string) []string {
	return []string{
		`chroot "$1" useradd --create-home --shell /bin/bash --uid 1000 --password '*' ubuntu`,
		`cp -rT --preserve=mode "` + overlay + `" "$1"`,
		`rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/usr/sbin/policy-rc.d "$1"/var/lib/dbus/machine-id`,
		`rm -f "$1"/etc/apt/sources.list.d/* "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap`,
		`: > "$1"/etc/apt/sources.list; : > "$1"/etc/machine-id`,
	}
}

// overlayFiles are the project's own files in every image.
func writeOverlay(dir string) error {
	for _, f := range []struct {
		name, text string
		mode       os.FileMode
	}{
		{"etc/systemd/system/ssh.service.d/10-host-keys.conf", sshUnit, 0o644},
		{"etc/ssh/sshd_config.d/10-scarab.conf", sshConf, 0o644},
		{"etc/systemd/journald.conf.d/10-scarab.conf", journalConf, 0o644},
		{"etc/apt/apt.conf.d/20scarab", aptConf, 0o644},
		{"etc/sudoers.d/90-scarab", sudoers, 0o440},
	} {
		name := filepath.Join(dir, f.name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return fmt.Errorf("cannot prepare the image's files: %w", err)
		}
		if err := os.WriteFile(name, []byte(f.text), f.mode); err != nil {
			return fmt.Errorf("cannot prepare the image's files: %w", err)
		}
	}
	return nil
}

// build makes an image of a distribution's packages, whose signatures apt
// verifies, and keeps it.
func (s *Store) build(ctx context.Context, name string, progress func(string)) (Image, error) {
	suite, err := suiteOf(name)
	if err != nil {
		return Image{}, err
	}
	if s.OneID {
		return Image{}, fmt.Errorf("cannot build image %s: the user has no range of ids, so packages cannot be installed; have root set one aside"+
			" (usermod --add-subuids), or add a tarball with: scarab image add %s FILE", name, name)
	}
	if err := s.ensureTool(ctx, progress); err != nil {
		return Image{}, err
	}
	apt := s.Apt
	if apt == nil {
		host, err := HostApt(ctx)
		if err != nil {
			return Image{}, err
		}
		apt = &host
	}
	if err := apt.Check(); err != nil {
		return Image{}, err
	}
	if err := s.Sweep(); err != nil {
		return Image{}, err
	}
	tmp, release, err := s.workspace()
	if err != nil {
		return Image{}, fmt.Errorf("cannot build image %s: %w", name, err)
	}
	img, err := s.buildIn(ctx, tmp, name, suite, apt, progress)
	return img, errors.Join(err, release())
}

// buildIn builds in a folder.
func (s *Store) buildIn(ctx context.Context, tmp, name, suite string, apt *Apt, progress func(string)) (Image, error) {
	sources := filepath.Join(tmp, "debian.sources")
	if err := os.WriteFile(sources, []byte(apt.Sources(suite)), 0o644); err != nil {
		return Image{}, fmt.Errorf("cannot build image %s: %w", name, err)
	}
	overlay := filepath.Join(tmp, "files")
	if err := writeOverlay(overlay); err != nil {
		return Image{}, err
	}
	return s.runBuild(ctx, name, buildArgs(suite, sources, overlay, apt.Options), tmp, progress)
}

func buildArgs(suite, sources, overlay string, options []string) []string {
	args := []string{
		"--mode=root", "--variant=apt", "--format=tar", "--include=" + strings.Join(packages(), ","),
		"--skip=output/dev", "--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::Languages \"none\"",
		"--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-include=/usr/share/doc/*/copyright",
	}
	for _, o := range options {
		args = append(args, "--aptopt="+o)
	}
	for _, hook := range customize(overlay) {
		args = append(args, "--customize-hook="+hook)
	}
	return append(args, suite, "-", sources)
}

func (s *Store) runBuild(ctx context.Context, name string, args []string, tmp string, progress func(string)) (Image, error) {
	progress("building image " + name + " from signed packages")
	whole := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// An absolute name: in a build of its own it is looked for anew.
	tool, err := exec.LookPath("mmdebstrap")
	if err != nil {
		return Image{}, fmt.Errorf("cannot build image %s: %w", name, err)
	}
	argv := append(append(apart(ctx), tool), args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TMPDIR=" + tmp, "DEBIAN_FRONTEND=noninteractive"}
	report := &steps{progress: progress}
	cmd.Stderr = report
	pr, pw := io.Pipe()
	cmd.Stdout = pw // copied until the tool has ended, or a moment after it was made to
	wait, err := startTree(cmd)
	if err != nil {
		return Image{}, fmt.Errorf("cannot build image %s: %w", name, err)
	}
	// A stream that ends early must not become an image: it is recorded only
	// after the tool said that all went well.
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := wait()
		if err != nil {
			err = fmt.Errorf("mmdebstrap: %w: %s", err, report.tail())
		}
		_ = pw.CloseWithError(err)
	}()
	img, err := s.keep(ctx, name, "packages", pr)
	if err != nil {
		cancel()
	}
	_ = pr.Close()
	<-ended // its folder is about to go
	if cause := context.Cause(whole); err != nil && cause != nil {
		return Image{}, fmt.Errorf("cannot build image %s: %w", name, cause) // the tool's last words say nothing
	}
	return img, err
}

// ensureTool installs mmdebstrap if it is missing.
func (s *Store) ensureTool(ctx context.Context, progress func(string)) error {
	if _, err := exec.LookPath("mmdebstrap"); err == nil {
		return nil
	}
	if s.userOwned() {
		return errors.New("cannot build images: mmdebstrap is missing; have root install it")
	}
	progress("installing mmdebstrap")
	for _, args := range [][]string{{"update"}, {"install", "--yes", "--no-install-recommends", "mmdebstrap"}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot install mmdebstrap, which builds images: %w: %s", err, lastBytes(out, 300))
		}
	}
	return nil
}

func lastBytes(b []byte, n int) string {
	return strings.ToValidUTF8(strings.TrimSpace(string(b[max(0, len(b)-n):])), "?")
}

// steps passes on the tool's own words and keeps the last for error texts.
type steps struct {
	progress func(string)
	buf      []byte
	last     []string
}

func (s *steps) Write(p []byte) (int, error) {
	s.buf = append(s.buf, p...)
	for {
		i := slices.IndexFunc(s.buf, func(b byte) bool { return b == '\n' || b == '\r' })
		if i < 0 {
			break
		}
		line := strings.TrimSpace(string(s.buf[:i]))
		s.buf = s.buf[i+1:]
		if line == "" || strings.HasPrefix(line, "done") {
			continue
		}
		s.last = append(s.last[max(0, len(s.last)-8):], line)
		if step, ok := strings.CutPrefix(line, "I: "); ok && strings.HasSuffix(step, "...") {
			s.progress(strings.TrimSuffix(step, "..."))
		}
	}
	s.buf = s.buf[max(0, len(s.buf)-4096):]
	return len(p), nil
}

func (s *steps) tail() string { return strings.Join(s.last, "; ") }
