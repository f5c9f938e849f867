package image

import "context"

const DefaultDir = "/var/cache/scarab/images"
const Default = "debian@12"

type Store struct{ Dir string }
type Image struct{ Root string }

func (s *Store) Ensure(ctx context.Context, name string, p func(string)) (Image, error) {
	return Image{"/tmp/rt/unp"}, nil
}
