package arch_test

import (
	"testing"

	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/hostd/hostapi"
	"github.com/scarab-ops/scarab/image"
	"github.com/scarab-ops/scarab/provider"
)

// Who asks for no base gets the one that the local cloud builds, so that nobody is told of a difference.
func TestDefaultBaseIsTheDefaultImage(t *testing.T) {
	b := machine.DefaultBase()
	if got := hostapi.ImageOf(provider.Base{Name: b.Name, Channel: b.Channel}); got != image.Default {
		t.Errorf("the base of who asks for none is %s, the cloud's image %s", got, image.Default)
	}
}
