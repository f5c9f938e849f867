#!/usr/bin/env bash
# Checks form: formatting, vet, two linters, the law of imports and the budgets.
# Each check counts once; its findings are printed. Tools are pinned and built
# by Go itself, outside of this module's own requirements.
set -uo pipefail
cd "$(dirname "$0")/../.."
export CGO_ENABLED=0

tools=$PWD/bin/lint
gofumpt=mvdan.cc/gofumpt@v0.12.0
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
golangci=github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

passed=0 failed=0
log=$(mktemp) && trap 'rm -f "$log"' EXIT

# check NAME COMMAND...: passes if the command succeeds.
check() {
  local name=$1 begun=$SECONDS
  shift
  if "$@" >"$log" 2>&1; then
    passed=$((passed + 1))
    echo "ok    $name ($((SECONDS - begun))s)"
  else
    failed=$((failed + 1))
    echo "FAIL  $name ($((SECONDS - begun))s)"
    head -n 200 "$log"
  fi
}

# tool MODULE@VERSION: builds a tool once for each version and prints its path.
tool() {
  local dir=$tools/${1//\//_}
  [ -d "$dir" ] || { GOBIN=$dir.new go install "$1" >&2 && mv "$dir.new" "$dir"; } || return 1
  echo "$dir"/*
}

# with MODULE@VERSION ARGS...: runs a tool.
with() {
  local path
  path=$(tool "$1" 2>"$log") || { cat "$log"; return 1; }
  shift
  "$path" "$@"
}

# silent COMMAND...: succeeds if the command does and says nothing.
silent() {
  local out
  out=$("$@" 2>&1) || { echo "$out"; return 1; }
  [ -z "$out" ] || { echo "$out"; return 1; }
}

files() { git ls-files -co --exclude-standard -- '*.go' | while read -r f; do [ -e "$f" ] && echo "$f"; done; }
scripts() { git ls-files -co --exclude-standard -- '*.sh'; }
format() { files | xargs gofmt -l; }
stricter() { mapfile -t all < <(files) && with "$gofumpt" -l "${all[@]}"; }
shell_syntax() { scripts | while read -r f; do bash -n "$f" || exit 1; done; }

check gofmt silent format
check gofumpt silent stricter
check vet go vet ./...
check staticcheck with "$staticcheck" ./...
check golangci-lint with "$golangci" run --config .golangci.yml ./...
check "shell syntax" shell_syntax
check "law and budgets" go test -count=1 ./arch

echo "lint: $passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
