#!/usr/bin/env bash
# From nothing to real software: a controller, three charms in isolated
# machines, related over TLS, a message through them, and one more server.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="${SCARAB_BIN:-$PWD/bin}:$PATH"
bold='' dim='' red='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\033[1m' dim=$'\033[2m' red=$'\033[31m' plain=$'\033[0m'; fi
steps=7 step_no=0

now() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 100000)); } # tenths of a second
start=$(now)
elapsed() {
  local t=$(($(now) - start))
  printf '%3d.%ds' $((t / 10)) $((t % 10))
}
step() {
  step_no=$((step_no + 1))
  printf '\n%s[%s] %d/%d %s%s\n' "$bold" "$(elapsed)" "$step_no" "$steps" "$*" "$plain"
}
run() {
  printf '    %s$ scarab %s%s\n' "$dim" "$*" "$plain"
  scarab "$@" 2>&1 | sed 's/^/      /'
}

failed() {
  trap - ERR
  exec >&2
  printf '\n%sERROR%s the quickstart stopped in step %d of %d. What the model says:\n' "$red" "$plain" "$step_no" "$steps"
  scarab status -m quickstart:demo 2>/dev/null || true
  echo "hint: look closer with: bin/scarab why nats/0; bin/scarab debug-log --replay; then clean up with: make quickstart-down"
  exit 1
}
trap failed ERR
interrupted() {
  trap - ERR INT
  printf '\n%sERROR%s interrupted; remove what was made with: make quickstart-down\n' "$red" "$plain" >&2
  exit 130
}
trap interrupted INT

# settle N waits until N units are there, active and idle. It prints what a
# charm says when that changes, as the controller tells it, and stops at the
# first unit in error. A frame of the status ends each of its tables with an
# empty line.
settle() {
  local want=$1 line name work agent message key watcher in_units=false column=0 good=0 bad=''
  local -A seen=()
  exec 3< <(exec timeout 600 scarab status --watch 200ms --no-color 2>/dev/null)
  watcher=$!
  while IFS= read -r line <&3; do
    if [[ $line == Unit\ * ]]; then
      message=${line%%Message*}
      in_units=true good=0 column=${#message}
    elif [ -z "$line" ]; then
      if $in_units && [ "$good" -ge "$want" ]; then break; fi
      in_units=false
    elif $in_units; then
      read -r name work agent _ <<<"$line"
      message=${line:$column}
      message=${message#(running * hook*) }
      # A message that comes back after a hook's own is no news.
      key="$work/$message"
      if [ "$work/$agent" = active/idle ]; then good=$((good + 1)) key=ready; fi
      if [[ "${seen[$name]:-}" != *"|$key|"* ]]; then
        seen[$name]="${seen[$name]:-}|$key|"
        [ "$key" != ready ] || work=$bold$work$plain
        printf '    [%s] %-16s %-12s %s\n' "$(elapsed)" "${name%\*}" "$work" "$message"
      fi
      if [[ $work == error ]]; then bad=${name%\*} && break; fi
    fi
  done
  kill "$watcher" 2>/dev/null || true
  exec 3<&-
  if [ -n "$bad" ]; then
    scarab why "$bad" >&2 || true
    return 1
  fi
  if [ "$good" -lt "$want" ]; then
    echo "ERROR cannot wait any longer for $want active units" >&2
    return 1
  fi
}

if scarab controllers --format json 2>/dev/null | grep -q '"quickstart":'; then
  echo "ERROR cannot begin: there is a quickstart already; look at it with: scarab status -m quickstart:demo; or remove it with: make quickstart-down" >&2
  exit 1
fi
# Real packages need a file system and an init of their own.
if scarab bootstrap localhost quickstart --check 2>&1 | grep 'machines here will be process' >&2; then
  cat >&2 <<TXT
ERROR cannot begin: the charms of the quickstart install Debian's packages, and machines here would be plain processes on the host's own files
hint: run it as root on a host that allows namespaces and mounts, for containers; or allow user namespaces, for rootless machines:
      sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000. In a chroot or a container that forbids them, run it on its host.
      To look again without starting anything: scarab bootstrap localhost --check
TXT
  exit 1
fi

step "Start a controller on this machine (the first time this builds the base image)"
run bootstrap localhost quickstart
run add-model demo

step "Deploy three charms that operate Debian's own packages"
run deploy ./charms/self-signed-certificates ca
run deploy ./charms/nats
run deploy ./charms/stream-agent -n 2

step "Relate them: certificates for both, and the message server for the agents"
run integrate nats:certificates ca:certificates
run integrate stream-agent:certificates ca:certificates
run integrate stream-agent:nats nats:client

step "Wait until all four units are active (each line is a change, as it happens)"
settle 4
run status --relations

step "Send a message from one unit over TLS; the other one prints it"
text="hello from $(hostname) at $(date +%H:%M:%S)"
run exec --unit stream-agent/0 -- stream-send "$text"
got=
for _ in $(seq 50); do
  got=$(scarab exec --unit stream-agent/1 -- stream-received 2>/dev/null) || got=
  case "$got" in *"$text"*) break ;; esac
done
case "$got" in
*"$text"*) printf '    %sstream-agent/1 received: %s%s\n' "$bold" "$text" "$plain" ;;
*) echo "ERROR the message did not arrive; stream-agent/1 has: $got" >&2 && false ;;
esac

step "Scale the message server to a second machine"
run add-unit nats
settle 5
run status

step "Done"
cat <<TXT
    Five units on five machines of their own run real software; no port of them is open to the outside.

What to try next (first: export PATH=\$PWD/bin:\$PATH)
    scarab status --watch 1s                 live status; ctrl-C ends it
    scarab ssh nats/0                        a shell in a machine
    scarab exec --unit stream-agent/1 -- stream-send 'and back'
    scarab config stream-agent               what can be set
    scarab expose nats --to-cidrs 10.0.0.0/8 let chosen networks in; scarab unexpose nats shuts it
    scarab debug-log --replay                what agents and charms say
    scarab why nats/1                        why something waits or fails
    scarab remove-unit nats/1                and watch it go in steps
    make quickstart-down                     remove all of it
TXT
