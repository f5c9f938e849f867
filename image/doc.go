// Package image owns the base images of the local cloud: it builds them from a
// distribution's signed packages, takes in tarballs, keeps each as one
// compressed file with its digest, and unpacks it once into a folder that all
// machines share read-only.
//
// It refuses the host's own files as an image, a file whose digest is not the
// recorded one, and every archive entry that would leave the folder, follow a
// link, be a device or exceed the limits. Mirrors, proxies and resolvers of
// the host are used to build and never end up in an image.
package image
