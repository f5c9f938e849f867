package main

import (
	"context"
	"fmt"
	"os"

	"github.com/scarab-ops/scarab/bootstrap"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/hostd/hostapi"
	"github.com/scarab-ops/scarab/image"
)

// images manages the base images of this host through its supervisor.
type images struct{}

// supervisor is that of this user's local cloud, or of the host's.
func supervisor() (*hostapi.Client, error) {
	socket, err := bootstrap.Socket()
	if err != nil {
		return nil, err
	}
	return hostapi.NewClient(socket), nil
}

func (images) List(ctx context.Context) ([]session.Image, error) {
	host, err := supervisor()
	if err != nil {
		return nil, err
	}
	defer host.Close()
	list, err := host.Images(ctx)
	var out []session.Image
	for _, i := range list {
		out = append(out, imageOf(i))
	}
	return out, err
}

func imageOf(i image.Image) session.Image {
	return session.Image{
		Name: i.Name, Arch: i.Arch, Digest: i.Digest, Size: i.Bytes, Source: i.Source, Created: i.Created,
	}
}

func (images) Add(ctx context.Context, name, tarball string, report func(session.Step)) (session.Image, error) {
	host, err := supervisor()
	if err != nil {
		return session.Image{}, err
	}
	defer host.Close()
	if tarball == "" {
		err = host.BuildImage(ctx, name, func(s string) { report(session.Step{Name: s}) })
	} else {
		err = add(ctx, host, name, tarball)
	}
	if err != nil {
		return session.Image{}, err
	}
	list, err := host.Images(ctx)
	for _, i := range list {
		if i.Name == name {
			return imageOf(i), nil
		}
	}
	return session.Image{}, err
}

func add(ctx context.Context, host *hostapi.Client, name, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("cannot read the image: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	return host.AddImage(ctx, name, f)
}

func (images) Remove(ctx context.Context, name string) error {
	host, err := supervisor()
	if err != nil {
		return err
	}
	defer host.Close()
	return host.RemoveImage(ctx, name)
}
