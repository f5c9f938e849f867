#!/usr/bin/env bash
# From nothing to real software: a controller, three charms in isolated
# machines, related over TLS, a message through them, and one more unit.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PWD/bin:$PATH"
start=$SECONDS
step() { printf '\n\033[1m[%3ds] %s\033[0m\n' "$((SECONDS - start))" "$*"; }
scarab_() { printf '    $ scarab %s\n' "$*"; scarab "$@"; }
failed() {
  echo
  echo "ERROR the quickstart stopped here. What the model says:" >&2
  scarab status -m quickstart:demo 2>/dev/null || true
  echo "      look closer with: bin/scarab why nats/0; bin/scarab debug-log --replay" >&2
  echo "      clean up with:    make quickstart-down" >&2
}
trap failed ERR

step "Start a controller on this machine (the first time this builds the base image)"
scarab_ bootstrap localhost quickstart
scarab_ add-model demo

step "Deploy three charms that operate Debian's own packages"
scarab_ deploy ./charms/self-signed-certificates ca
scarab_ deploy ./charms/nats
scarab_ deploy ./charms/stream-agent -n 2

step "Relate them: certificates for both, and the message server for the agents"
scarab_ integrate nats:certificates ca:certificates
scarab_ integrate stream-agent:certificates ca:certificates
scarab_ integrate stream-agent:nats nats:client

step "Wait until every unit is active"
for app in ca nats stream-agent; do
  scarab_ wait-for application "$app" --timeout 10m
done
scarab_ status --relations

step "Send a message from one unit; the other one prints it"
text="hello from $(hostname) at $(date +%H:%M:%S)"
scarab_ exec --unit stream-agent/0 -- stream-send "$text"
for _ in $(seq 50); do
  got=$(scarab exec --unit stream-agent/1 -- stream-received) || got=
  case "$got" in *"$text"*) break ;; esac
done
case "$got" in
  *"$text"*) printf '    stream-agent/1 received: %s\n' "$text" ;;
  *) echo "ERROR the message did not arrive; stream-agent/1 has: $got" >&2; false ;;
esac

step "Scale the message server to a second machine"
scarab_ add-unit nats
scarab_ wait-for application nats --timeout 10m --query 'life=="alive" && status=="active"'
scarab_ wait-for unit nats/1 --timeout 10m
scarab_ status

step "Done"
cat <<TXT
What to try next (bin/ is not on your PATH yet: export PATH=\$PWD/bin:\$PATH)
    scarab status --watch 2s                 live status
    scarab ssh nats/0                        a shell in a machine
    scarab config stream-agent               what can be set
    scarab expose nats                       let the outside in
    scarab debug-log                         what agents and charms say
    scarab why nats/1                        why something waits
    scarab remove-unit nats/1                and watch it go in steps
    make quickstart-down                     remove all of it
TXT
