#!/usr/bin/env bash
# Removes what the quickstart started and made. Caches (the base image) and
# installed packages stay.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -x bin/scarab ] && bin/scarab show-controller quickstart >/dev/null 2>&1; then
  bin/scarab kill-controller --no-prompt quickstart
elif [ -x bin/scarab-agent ]; then
  bin/scarab-agent host --destroy
  if [ -x bin/scarab ]; then bin/scarab unregister --no-prompt quickstart 2>/dev/null || true; fi
fi
echo "Nothing of the quickstart is left but caches and installed packages."
