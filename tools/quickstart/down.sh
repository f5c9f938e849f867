#!/usr/bin/env bash
# Removes what the quickstart started and made, and nothing else: a controller
# of another name stays. Caches (the base image) and installed packages stay.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="${SCARAB_BIN:-$PWD/bin}:$PATH"
lib=${XDG_DATA_HOME:-$HOME/.local/share}/scarab
[ "$(id -u)" != 0 ] || lib=/var/lib/scarab
lib=${SCARAB_LIB:-$lib}

# field FILE KEY prints a text of a flat JSON file.
field() { sed -n "s/.*\"$2\": *\"\([^\"\\\\]*\)\".*/\1/p" "$1" 2>/dev/null | head -n 1; }
# here prints the id and the name of the controller that this host has, or has part of.
here() {
  local id='' name=''
  id=$(field "$lib/bootstrap.json" controller-id)
  name=$(field "$lib/bootstrap.json" name)
  [ -n "$id" ] || id=$(field "$lib/host.json" controller-id)
  [ -z "$id" ] || printf '%s %s\n' "$id" "$name"
}

if ! command -v scarab >/dev/null; then
  [ -z "$(here)" ] || { echo "ERROR cannot remove the controller of this host without bin/scarab; run: make build" >&2; exit 1; }
elif scarab controllers --format json 2>/dev/null | grep -q '"quickstart":'; then
  scarab kill-controller --no-prompt quickstart
fi
# The client's files may be gone, or another user's, or the bootstrap was
# killed before it wrote them: the host knows what it has.
read -r id name <<<"$(here)" || true
if [ -n "$id" ] && [ "$name" = quickstart ]; then
  scarab kill-controller --no-prompt "$id"
  id=''
fi
echo "Nothing of the quickstart is left but caches and installed packages."
if [ -n "$id" ]; then
  echo "This host also has the controller ${name:+$name, }$id, which the quickstart did not make: it is left."
  echo "To remove that one: scarab kill-controller $id"
fi
