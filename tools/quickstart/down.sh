#!/usr/bin/env bash
# Removes what the quickstart started and made. Caches (the base image) and
# installed packages stay.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="${SCARAB_BIN:-$PWD/bin}:$PATH"
host=/var/lib/scarab/host.json
if ! command -v scarab >/dev/null; then
  [ ! -e "$host" ] || { echo "ERROR cannot remove the controller of this host without bin/scarab; run: make build" >&2; exit 1; }
elif scarab controllers --format json 2>/dev/null | grep -q '"quickstart":'; then
  scarab kill-controller --no-prompt --timeout 1m quickstart
fi
# The client's files may be gone, or another user's: the host knows its controller.
if [ -e "$host" ]; then
  id=$(sed -n 's/.*"controller-id": *"\([0-9a-f-]*\)".*/\1/p' "$host")
  scarab kill-controller --no-prompt "$id"
fi
echo "Nothing of the quickstart is left but caches and installed packages."
