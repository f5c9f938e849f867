// Package charms owns the routes by which charm archives come in and go out.
//
// Who may is decided before a byte of a body is read: people with write access
// to the model upload, people who may read the model and the model's own agents
// download. Archives are read by package charm alone; a body that is no valid
// charm leaves nothing behind.
package charms

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/http/route"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/blob"
	"github.com/scarab-ops/scarab/charm"
)

// A Local is a local charm on its way in. Its archive is stored already.
type Local struct {
	Name string
	// Revision is the least revision that the client would like; the next free
	// one is given.
	Revision int
	Series   string
	Digest   blob.Digest
	Size     int64
	Charm    *charm.Charm
}

// A Service knows the charms of models. All methods take the model from
// c.Caller.Model and change things by c.Update alone.
type Service interface {
	// AddLocalCharm records a local charm and returns its URL.
	AddLocalCharm(c facade.Call, l Local) (url string, err error)
	// FindCharm returns the archive of a charm that the model knows. One that
	// is known but not there yet is [ErrPending].
	FindCharm(c facade.Call, url string) (blob.Digest, error)
	// FindObject does the same for the name "<charm>-<7 digits of digest>".
	FindObject(c facade.Call, object string) (blob.Digest, error)
	// Refers tells whether a charm of the model has that archive.
	Refers(c facade.Call, d blob.Digest) bool
}

// ErrPending is a charm whose archive has not been fetched yet.
var ErrPending = error(&route.Error{Text: "charm is not yet available; try again later", Wire: "not yet available; try again later"})

// Config says what is served.
type Config struct {
	Service Service
	Blobs   *blob.Store
	Limits  charm.Limits // zero means charm.DefaultLimits
}

// maxVerify bounds the archives that are unpacked for checking at a time.
const maxVerify = 2

type handler struct {
	Config
	verify chan struct{}
}

// Routes returns the charm routes.
func Routes(cfg Config) []route.Route {
	if cfg.Limits.Archive == 0 {
		cfg.Limits = charm.DefaultLimits()
	}
	h := &handler{cfg, make(chan struct{}, maxVerify)}
	up := route.Policy{Auth: route.Basic, Rule: authz.OnModel(authz.Write).Changes(), MaxBody: h.Limits.Archive}
	down := route.Policy{Auth: route.Basic, Rule: authz.OnModel(authz.Read).AndAgents(authz.Agents).Reads()}
	rt := func(method, path string, p route.Policy, f func(facade.Call, http.ResponseWriter, *http.Request) error) route.Route {
		return route.Route{Method: method, Path: path, Policy: p, Serve: f, Fail: route.FailCharm}
	}
	return []route.Route{
		rt(http.MethodGet, "/charms", down, h.download), rt(http.MethodGet, "/model/{model}/charms", down, h.download),
		rt(http.MethodPost, "/charms", up, h.post), rt(http.MethodPost, "/model/{model}/charms", up, h.post),
		rt(http.MethodGet, "/model-{model}/charms/{object}", down, h.object),
		rt(http.MethodPut, "/model-{model}/charms/{object}", up, h.put),
	}
}

func bad(format string, a ...any) error {
	return &route.Error{Text: fmt.Sprintf(format, a...), Wire: "bad request"}
}

// put takes an upload whose name holds the first digits of its digest.
func (h *handler) put(c facade.Call, w http.ResponseWriter, r *http.Request) error {
	object := r.PathValue("object")
	i := strings.LastIndexByte(object, '-')
	if i < 0 || len(object)-i-1 != 7 || strings.Trim(object[i+1:], "0123456789abcdef") != "" {
		return bad("cannot upload charm: object name %.80q does not end in 7 digits of a SHA-256", object)
	}
	u, err := charm.ParseURL(r.Header.Get("Juju-Curl"))
	if err != nil {
		return bad("%v", err)
	}
	if u.Schema != charm.SchemaLocal {
		return bad("cannot upload charm: only local charms are uploaded, got %.80q", u.Schema)
	}
	url, err := h.take(c, r, Local{Name: u.Name, Revision: u.Revision, Series: u.Series}, object[i+1:])
	if err != nil {
		return err
	}
	w.Header().Set("Juju-Curl", url)
	route.JSON(w, http.StatusOK, map[string]string{"charm-url": url})
	return nil
}

// post takes an upload described by its query.
func (h *handler) post(c facade.Call, w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	if s := q.Get("schema"); s != "" && s != charm.SchemaLocal {
		return bad("cannot upload charm: schema %.80q is not local", s)
	}
	l := Local{Name: q.Get("name"), Series: q.Get("series"), Revision: -1}
	if s := q.Get("revision"); s != "" {
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return bad("cannot upload charm: revision %.40q is not a number", s)
		}
		l.Revision = int(n)
	}
	if l.Name != "" && !charm.ValidName(l.Name) {
		return bad("cannot upload charm: name %.80q is not valid", l.Name)
	}
	url, err := h.take(c, r, l, "")
	if err != nil {
		return err
	}
	route.JSON(w, http.StatusOK, map[string]string{"charm-url": url})
	return nil
}

// take stores the body, reads it as a charm and records it. Whatever goes
// wrong, the body does not stay: unless it was there before.
func (h *handler) take(c facade.Call, r *http.Request, l Local, begins string) (string, error) {
	switch kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case err != nil || kind != "application/zip":
		return "", bad("cannot upload charm: the content type must be application/zip")
	}
	model := string(c.Caller.Model)
	d, size, err := h.Blobs.Put(c, model, r.Body, "")
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return "", &route.Error{Text: fmt.Sprintf("cannot upload charm: it is larger than %d bytes", tooLarge.Limit), Wire: "quota limit exceeded"}
	}
	if err != nil {
		return "", err
	}
	c.Concerns(string(d))
	l.Digest, l.Size = d, size
	url, err := h.record(c, model, l, begins)
	if err != nil {
		h.forget(c, model, d)
		return "", err
	}
	return url, nil
}

func (h *handler) record(c facade.Call, model string, l Local, begins string) (string, error) {
	if !strings.HasPrefix(string(l.Digest), begins) {
		return "", bad("cannot upload charm: its SHA-256 does not begin with %s", begins)
	}
	rd, err := h.Blobs.Open(c, model, l.Digest)
	if err != nil {
		return "", err
	}
	defer rd.Close()
	if l.Charm, err = h.read(c, rd); err != nil {
		return "", err
	}
	if l.Name == "" {
		l.Name = l.Charm.Meta.Name
	}
	return h.Service.AddLocalCharm(c, l)
}

// read reads the charm and checks every member, so that what is stored can be
// deployed.
func (h *handler) read(c facade.Call, rd *blob.Reader) (*charm.Charm, error) {
	select {
	case h.verify <- struct{}{}:
		defer func() { <-h.verify }()
	case <-c.Done():
		return nil, c.Err()
	}
	a, err := charm.OpenArchive(rd, rd.Size(), h.Limits)
	if err == nil {
		err = a.Verify()
	}
	if err != nil {
		return nil, bad("%v", err)
	}
	return a.Charm(), nil
}

// forget removes an archive that no charm refers to after all.
func (h *handler) forget(c facade.Call, model string, d blob.Digest) {
	if h.Service.Refers(c, d) {
		return
	}
	_ = h.Blobs.Delete(c, model, d) // what stays is found by the sweep of unreferenced blobs
}

func (h *handler) object(c facade.Call, w http.ResponseWriter, r *http.Request) error {
	d, err := h.Service.FindObject(c, r.PathValue("object"))
	if err != nil {
		return err
	}
	return h.whole(c, w, d)
}

// download gives the list of members, the whole archive, or one member.
func (h *handler) download(c facade.Call, w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	url := q.Get("url")
	if url == "" || len(url) > 512 {
		return bad("expected url=CharmURL query argument")
	}
	d, err := h.Service.FindCharm(c, url)
	if err != nil {
		return err
	}
	file := q.Get("file")
	icon := file == "" && q.Get("icon") == "1"
	if file == "*" {
		return h.whole(c, w, d)
	}
	rd, err := h.Blobs.Open(c, string(c.Caller.Model), d)
	if err != nil {
		return err
	}
	defer rd.Close()
	a, err := charm.OpenArchive(rd, rd.Size(), h.Limits)
	if err != nil {
		return err
	}
	switch {
	case icon:
		return h.icon(w, a)
	case file == "":
		route.JSON(w, http.StatusOK, map[string]any{"files": a.Files()})
		return nil
	}
	return h.member(w, a, file)
}

func (h *handler) whole(c facade.Call, w http.ResponseWriter, d blob.Digest) error {
	rd, err := h.Blobs.Open(c, string(c.Caller.Model), d)
	if err != nil {
		return err
	}
	defer rd.Close()
	w.Header().Set("Content-Type", "application/zip")
	w.Header().Set("Content-Length", strconv.FormatInt(rd.Size(), 10))
	_, err = io.Copy(w, rd) // an error in the middle cuts the connection
	return err
}

func (h *handler) member(w http.ResponseWriter, a *charm.Archive, name string) error {
	if !a.Has(name) {
		return &route.Error{Text: fmt.Sprintf("file %.200q not found in the charm", name), Wire: "not found"}
	}
	kind := mime.TypeByExtension(path.Ext(name))
	if kind == "" {
		kind = "text/plain"
	}
	w.Header().Set("Content-Type", kind)
	// A charm's file is never a page of ours.
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")
	return a.CopyFile(w, name)
}

const defaultIcon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96" width="96" height="96">` +
	`<rect width="96" height="96" rx="16" fill="#466"/><circle cx="48" cy="48" r="24" fill="#dee"/></svg>` + "\n"

func (h *handler) icon(w http.ResponseWriter, a *charm.Archive) error {
	if a.Has("icon.svg") {
		return h.member(w, a, "icon.svg")
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	_, err := io.WriteString(w, defaultIcon)
	return err
}
