# Commands of this repository. Each ends with a line "NAME: N passed, N failed"
# where it checks something. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:

BIN    := $(CURDIR)/bin
GO     := go
export CGO_ENABLED ?= 0
LDFLAGS := -s -w -X main.commit=$(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
TESTSUM := $(BIN)/testsum

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the four binaries into bin/
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags "$(LDFLAGS)" -o $(BIN)/ ./cmd/...

.PHONY: setup
setup: ## install what a bare Debian 12 lacks for running (needs root)
	@tools/setup/run.sh run

.PHONY: setup-test
setup-test:
	@tools/setup/run.sh test

$(TESTSUM): tools/testsum/main.go
	@mkdir -p $(BIN) && $(GO) build -o $@ ./tools/testsum

.PHONY: quickstart
quickstart: setup build ## deploy, relate and operate real software on this machine
	@tools/quickstart/run.sh

.PHONY: quickstart-down
quickstart-down: ## remove what quickstart made; caches and installed packages stay
	@tools/quickstart/down.sh

.PHONY: purge
purge: quickstart-down ## quickstart-down, and remove the caches too
	@if [ -e /var/lib/scarab/host.json ]; then
	  echo "ERROR cannot remove the caches: a controller of this host uses them" >&2; exit 1
	fi
	rm -rf --one-file-system /var/cache/scarab

.PHONY: test
test: setup setup-test build $(TESTSUM) ## everything that must hold, race detector on
	@# The sample charms are no Go: their hooks call this test's own binary as hook
	# tools, hundreds of times, and the race detector only makes it slow to start.
	pkgs=$$($(GO) list ./... | grep -v '/charms$$')
	CGO_ENABLED=1 SCARAB_BIN=$(BIN) $(TESTSUM) -name test -no-skip -plain ./charms -- -race -timeout 14m -p 2 $$pkgs

.PHONY: conformance
conformance: setup setup-test build $(TESTSUM) ## charms written to check semantics, on real machines
	@SCARAB_BIN=$(BIN) SCARAB_LONG=1 $(TESTSUM) -name conformance -v -- -timeout 60m ./tests/conformance/... ./agent/unit

.PHONY: threats
threats: setup setup-test build $(TESTSUM) ## attacks that must fail, each shown to succeed without its control
	@SCARAB_BIN=$(BIN) SCARAB_LONG=1 $(TESTSUM) -name threats -v -- -timeout 60m ./tests/threats/...

.PHONY: clients
clients: setup setup-test build $(TESTSUM) ## published clients, unmodified, against a controller
	@SCARAB_BIN=$(BIN) SCARAB_LONG=1 $(TESTSUM) -name clients -v -- -timeout 30m ./tests/clients/...

.PHONY: bench
bench: setup build ## costs as ratios over what they cannot be below
	@SCARAB_BIN=$(BIN) $(GO) run ./bench

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (default 20s)
	@tools/fuzz/run.sh $${FUZZTIME:-20s}

.PHONY: lint
lint: ## formatting, vet, staticcheck, the law of imports and the budgets
	@tools/lint/run.sh
