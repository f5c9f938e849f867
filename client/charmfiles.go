package client

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
)

// MaxCharm bounds a charm archive, up or down.
const MaxCharm = 512 << 20

// UploadCharm sends a local charm's archive and returns the URL that the
// server gave it. The archive is read twice; its digest names it on the way.
func (c *Conn) UploadCharm(ctx context.Context, name string, revision int, archive io.ReadSeeker) (string, error) {
	if c.cfg.Model == "" {
		return "", errors.New("cannot upload charm: connect to a model first")
	}
	h := sha256.New()
	size, err := io.Copy(h, io.LimitReader(archive, MaxCharm+1))
	if err != nil {
		return "", fmt.Errorf("cannot read charm: %v", err)
	}
	if size > MaxCharm {
		return "", fmt.Errorf("cannot upload charm: it is larger than %d MiB", MaxCharm>>20)
	}
	curl := "local:" + name + "-" + strconv.Itoa(revision)
	object := name + "-" + hex.EncodeToString(h.Sum(nil))[:7]
	got, status, err := c.sendCharm(ctx, http.MethodPut, "/model-"+string(c.cfg.Model)+"/charms/"+object, nil, curl, archive, size)
	if status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
		return got, err
	}
	q := url.Values{"schema": {"local"}, "revision": {strconv.Itoa(revision)}, "series": {""}, "name": {name}}
	got, _, err = c.sendCharm(ctx, http.MethodPost, c.modelPath("/charms"), q, "", archive, size)
	return got, err
}

func (c *Conn) sendCharm(ctx context.Context, method, path string, q url.Values, curl string, archive io.ReadSeeker, size int64) (string, int, error) {
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return "", 0, fmt.Errorf("cannot read charm: %v", err)
	}
	r, err := c.request(ctx, method, path, q, io.NopCloser(io.LimitReader(archive, size)))
	if err != nil {
		return "", 0, err
	}
	r.ContentLength = size
	r.Header.Set("Content-Type", "application/zip")
	if curl != "" {
		r.Header.Set("Juju-Curl", curl)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return "", 0, fmt.Errorf("cannot upload charm: %v", err)
	}
	var answer struct {
		CharmURL string `json:"charm-url"`
	}
	if err := readSmall(resp, &answer); err != nil {
		return "", resp.StatusCode, fmt.Errorf("cannot upload charm: %w", err)
	}
	if answer.CharmURL == "" {
		return "", resp.StatusCode, errors.New("cannot upload charm: the server gave it no URL")
	}
	return answer.CharmURL, resp.StatusCode, nil
}

// DownloadCharm writes a charm's archive to f and checks it against sha256,
// in hex. If it returns an error f is empty: nothing that was not verified is
// left behind.
func (c *Conn) DownloadCharm(ctx context.Context, charmURL, sha256Hex string, f *os.File) (err error) {
	want, err := hex.DecodeString(sha256Hex)
	if err != nil || len(want) != sha256.Size {
		return errors.New("cannot download charm: its SHA-256 must be known first")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Truncate(0))
		}
	}()
	r, err := c.request(ctx, http.MethodGet, c.modelPath("/charms"), url.Values{"url": {charmURL}, "file": {"*"}}, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("cannot download charm: %v", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("cannot download charm: %w", failure(resp))
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end or given up
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(resp.Body, MaxCharm+1))
	if err != nil {
		return fmt.Errorf("cannot download charm: %v", err)
	}
	if n > MaxCharm {
		return fmt.Errorf("cannot download charm: it is larger than %d MiB", MaxCharm>>20)
	}
	if subtle.ConstantTimeCompare(h.Sum(nil), want) != 1 {
		return errors.New("cannot use charm: its SHA-256 is not the expected one")
	}
	return nil
}
