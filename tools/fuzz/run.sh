#!/usr/bin/env bash
# Runs each fuzz target of the module for a time: run.sh 20s. A target that
# finds something leaves its input in testdata/fuzz beside the test.
set -uo pipefail
cd "$(dirname "$0")/../.."
time=${1:-20s}
passed=0 failed=0
log=$(mktemp) && trap 'rm -f "$log"' EXIT

# targets prints "package name" of each target. The compiler is asked, not the
# text: what is excluded from the build is no target.
targets() {
  local dir name
  git grep -l --untracked -E '^func Fuzz[A-Z]' -- '*_test.go' | xargs -r -n1 dirname | sort -u | while read -r dir; do
    go test -list '^Fuzz' "./$dir" | grep '^Fuzz' | while read -r name; do echo "./$dir $name"; done
  done
}

list=$(targets)
if [ -z "$list" ]; then
  echo "ERROR there is no fuzz target, or none that compiles" >&2
fi
while read -r pkg name; do
  [ -n "$pkg" ] || continue
  if go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 100x -timeout 0 "$pkg" >"$log" 2>&1; then
    passed=$((passed + 1))
    echo "ok    $pkg $name ($(grep -oE 'execs: [0-9]+' "$log" | tail -1))"
  else
    failed=$((failed + 1))
    echo "FAIL  $pkg $name"
    tail -n 60 "$log"
  fi
done <<<"$list"
echo "fuzz: $passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
