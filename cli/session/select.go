package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/scarab-ops/scarab/cli/store"
	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
)

type ioWriter = io.Writer

// Controller is an open connection to a controller.
type Controller struct {
	Conn
	Name    string
	Entry   store.Controller
	Account store.Account
}

// Model is an open connection to a model.
type Model struct {
	Conn
	Controller string
	Name       string // owner/name
	UUID       string
	Type       string
	Entry      store.Controller
	User       string
}

// Short is the model's name without its owner.
func (m *Model) Short() string { return m.Name[strings.Index(m.Name, "/")+1:] }

// ErrNoController says that nothing tells which controller is meant.
var ErrNoController = errors.New("cannot choose a controller: none is current")

// ControllerName chooses the controller: flag, environment, current one.
func (s *Session) ControllerName() (string, error) {
	if s.controllerFlag != "" {
		return s.controllerFlag, nil
	}
	if c, _ := store.SplitModel(s.modelFlag); c != "" {
		return c, nil
	}
	if s.modelFlag == "" {
		if c, _ := store.SplitModel(s.cfg.Getenv("JUJU_MODEL")); c != "" {
			return c, nil
		}
	}
	if c := s.cfg.Getenv("JUJU_CONTROLLER"); c != "" {
		return c, nil
	}
	_, current, err := s.cfg.Store.Controllers()
	if err != nil {
		return "", err
	}
	if current == "" {
		return "", Advise(ErrNoController, "make one with: scarab bootstrap localhost; or use one: scarab login HOST:PORT -c NAME, scarab switch NAME")
	}
	return current, nil
}

// ModelName chooses the model: flag, environment, current one of the controller. The owner is added.
func (s *Session) ModelName() (controller, model string, err error) {
	controller, err = s.ControllerName()
	if err != nil {
		return "", "", err
	}
	text := s.modelFlag
	if text == "" {
		text = s.cfg.Getenv("JUJU_MODEL")
	}
	_, model = store.SplitModel(text)
	if model == "" {
		_, model, err = s.cfg.Store.Models(controller)
		if err != nil {
			return "", "", err
		}
		if model == "" {
			return "", "", Advise(fmt.Errorf("cannot choose a model on controller %q: none is current", controller),
				"choose one: scarab switch MODEL; or make one: scarab add-model NAME")
		}
	}
	account, err := s.Account(controller)
	if err != nil {
		return "", "", err
	}
	return controller, store.Qualify(model, account.User), nil
}

// Account is the account on a controller, or the error that tells how to get one.
func (s *Session) Account(controller string) (store.Account, error) {
	a, err := s.cfg.Store.Account(controller)
	var missing *store.NotFoundError
	if errors.As(err, &missing) {
		if _, err := s.cfg.Store.Controller(controller); err != nil {
			return a, err
		}
		return a, Advise(fmt.Errorf("cannot use controller %q: you are logged out", controller), "log in: scarab login -c "+controller)
	}
	return a, err
}

// OpenController connects to the chosen controller.
func (s *Session) OpenController(ctx context.Context) (*Controller, error) {
	name, err := s.ControllerName()
	if err != nil {
		return nil, err
	}
	return s.OpenNamed(ctx, name)
}

// OpenNamed connects to a controller by name.
func (s *Session) OpenNamed(ctx context.Context, name string) (*Controller, error) {
	entry, account, err := s.known(ctx, name)
	if err != nil {
		return nil, err
	}
	conn, err := s.dial(ctx, name, entry, account, "")
	if err != nil {
		return nil, err
	}
	return &Controller{Conn: conn, Name: name, Entry: entry, Account: account}, nil
}

func (s *Session) known(ctx context.Context, name string) (store.Controller, store.Account, error) {
	entry, err := s.cfg.Store.Controller(name)
	if err != nil {
		return entry, store.Account{}, err
	}
	account, err := s.Account(name)
	if err != nil {
		return entry, account, err
	}
	return entry, account, s.cfg.Store.CheckTrust(ctx, name, entry)
}

// OpenModel connects to the chosen model.
func (s *Session) OpenModel(ctx context.Context) (*Model, error) {
	controller, model, err := s.ModelName()
	if err != nil {
		return nil, err
	}
	return s.openModel(ctx, controller, model)
}

func (s *Session) openModel(ctx context.Context, controller, name string) (*Model, error) {
	entry, account, err := s.known(ctx, controller)
	if err != nil {
		return nil, err
	}
	m, err := s.FindModel(ctx, controller, name)
	if err != nil {
		return nil, err
	}
	name = s.nameOf(controller, name, m)
	conn, err := s.dial(ctx, controller, entry, account, m.UUID)
	if Code(err) == "model not found" || Code(err) == "not found" {
		if rerr := s.cfg.Store.RemoveModel(ctx, controller, name); rerr != nil {
			return nil, rerr
		}
		return nil, Advise(fmt.Errorf("cannot find model %q on controller %q: it is gone", name, controller), "see the ones there are: scarab models")
	}
	if err != nil {
		return nil, err
	}
	return &Model{Conn: conn, Controller: controller, Name: name, UUID: m.UUID, Type: m.Type, Entry: entry, User: account.User}, nil
}

// FindModel looks a model up in the client's files and, when it is missing there, asks the controller.
func (s *Session) FindModel(ctx context.Context, controller, name string) (store.Model, error) {
	models, _, err := s.cfg.Store.Models(controller)
	if err != nil {
		return store.Model{}, err
	}
	if m, ok := lookup(models, name); ok {
		return m, nil
	}
	c, err := s.OpenNamed(ctx, controller)
	if err != nil {
		return store.Model{}, err
	}
	models, err = s.RefreshModels(ctx, c)
	if err != nil {
		return store.Model{}, err
	}
	m, ok := lookup(models, name)
	if !ok {
		known := slices.Sorted(maps.Keys(models))
		hint := "make it with: scarab add-model NAME"
		if len(known) > 0 {
			hint = "there are: " + strings.Join(known, ", ")
		}
		return m, &store.NotFoundError{Kind: "model", Name: controller + ":" + name, Hint: hint}
	}
	return m, nil
}

// nameOf is the name of a model that may have been named by its id.
func (s *Session) nameOf(controller, name string, m store.Model) string {
	models, _, err := s.cfg.Store.Models(controller)
	if _, plain := models[name]; err != nil || plain {
		return name
	}
	for full, other := range models {
		if other.UUID == m.UUID {
			return full
		}
	}
	return name
}

// lookup finds a model by owner/name, or by its id.
func lookup(models map[string]store.Model, name string) (store.Model, bool) {
	if m, ok := models[name]; ok {
		return m, true
	}
	id := name[strings.Index(name, "/")+1:]
	for _, m := range models {
		if names.ValidUUID(id) && m.UUID == id {
			return m, true
		}
	}
	return store.Model{}, false
}

// RefreshModels asks the controller for the models of the user and records them.
func (s *Session) RefreshModels(ctx context.Context, c *Controller) (map[string]store.Model, error) {
	list, err := Do[wire.UserModelList](ctx, c, "ModelManager", "ListModels", wire.Entity{Tag: "user-" + c.Account.User})
	if err != nil {
		return nil, err
	}
	models := map[string]store.Model{}
	for _, m := range list.UserModels {
		models[strings.TrimPrefix(m.Model.OwnerTag, "user-")+"/"+m.Model.Name] = store.Model{UUID: m.Model.UUID, Type: m.Model.Type}
	}
	return models, s.cfg.Store.SetModels(ctx, c.Name, models)
}

func (s *Session) dial(ctx context.Context, name string, entry store.Controller, account store.Account, model string) (Conn, error) {
	if account.Password.Empty() {
		return nil, Advise(fmt.Errorf("cannot connect to controller %q: you are logged out", name), "log in: scarab login -c "+name)
	}
	conn, err := s.cfg.Dial.Dial(ctx, Target{
		Addresses: entry.Endpoints, CACert: entry.CACert, PublicHostname: entry.PublicHostname, ControllerUUID: entry.UUID,
		ModelUUID: model, User: account.User, Secret: account.Password,
	})
	if err != nil {
		return nil, s.unconnected(ctx, name, entry.UUID, err)
	}
	s.conns = append(s.conns, conn)
	if got := conn.Login().ControllerUUID; got != "" && got != entry.UUID {
		return nil, fmt.Errorf("cannot trust controller %q: its id is %s, expected %s", name, got, entry.UUID)
	}
	return conn, s.learn(ctx, name, entry, account, conn.Login())
}

// learn keeps what a login told: addresses, version, access.
func (s *Session) learn(ctx context.Context, name string, entry store.Controller, account store.Account, l Login) error {
	fresh := entry
	if len(l.Addresses) > 0 {
		fresh.Endpoints = ordered(l.Addresses)
	}
	if l.ServerVersion != "" {
		fresh.AgentVersion = l.ServerVersion
	}
	if l.PublicDNSName != "" {
		fresh.PublicHostname = l.PublicDNSName
	}
	if !slices.Equal(fresh.Endpoints, entry.Endpoints) || fresh.AgentVersion != entry.AgentVersion || fresh.PublicHostname != entry.PublicHostname {
		if err := s.cfg.Store.SetController(ctx, name, fresh, false); err != nil {
			return err
		}
	}
	if l.ControllerAccess != "" && l.ControllerAccess != account.Access {
		account.Access = l.ControllerAccess
		return s.cfg.Store.SetAccount(ctx, name, account)
	}
	return nil
}

func ordered(addrs []string) []string {
	out := slices.Clone(addrs)
	sort.Strings(out)
	return slices.Compact(out)
}

// Use connects with an entry and an account that are not recorded yet, for logins and bootstrap.
func (s *Session) Use(ctx context.Context, t Target) (Conn, error) {
	conn, err := s.cfg.Dial.Dial(ctx, t)
	if err != nil {
		return nil, err
	}
	s.conns = append(s.conns, conn)
	return conn, nil
}

// Authority fetches the CA a server shows.
func (s *Session) Authority(ctx context.Context, address string) (string, error) {
	return s.cfg.Dial.Authority(ctx, address)
}

// ChooseModel names the model in the place of the flag, for commands that take it as an argument.
func (s *Session) ChooseModel(text string) {
	if c, m := store.SplitModel(text); c == "" && s.controllerFlag != "" {
		text = s.controllerFlag + ":" + m
	} else if c != "" {
		s.controllerFlag = ""
	}
	s.modelFlag = text
}

// unconnected says what to do about a connection that did not come about.
func (s *Session) unconnected(ctx context.Context, name, uuid string, err error) error {
	if s.cfg.Bootstrap != nil && ctx.Err() == nil && Broken(err, true) {
		if command := s.cfg.Bootstrap.Asleep(ctx, uuid); command != "" {
			return Advise(fmt.Errorf("cannot connect to controller %q: %w", name, err), "the supervisor of this host, which runs the controller, does not run; start it: "+command)
		}
	}
	return Unconnected(name, fmt.Errorf("cannot connect to controller %q: %w", name, err))
}

// Broken tells whether asking again may help: a connection broke, or, where there was one before, nobody answers yet.
func Broken(err error, before bool) bool {
	var dial *client.DialError
	return client.Broken(err) || before && errors.As(err, &dial) && dial.Problem == client.Unreachable
}

// Unconnected adds what to do about a connection to a controller that did not come about.
func Unconnected(name string, err error) error {
	var advised interface{ Advice() string }
	var dialled *client.DialError
	switch {
	case errors.As(err, &advised):
		return err
	case errors.As(err, &dialled):
		return Advise(err, dialled.AdviceFor(name))
	case Code(err) == "unauthorized access":
		return Advise(err, "log in again: scarab login -c "+name+"; if that succeeds, ask an administrator for rights on this model")
	}
	return err
}
