#!/usr/bin/env bash
# Installs what a bare Debian 12 lacks. "run" is for running Scarab, "test" for
# its tests. Installs nothing that is there already; says what it does.
set -euo pipefail

want=()
need() { command -v "$1" >/dev/null 2>&1 || want+=("$2"); }

need mmdebstrap mmdebstrap
need ssh openssh-client
need mkfs.ext4 e2fsprogs
need zstd zstd
need newuidmap uidmap
need openssl openssl
if [ "${1:-run}" = test ]; then
  need gcc gcc
  [ -e /usr/include/string.h ] || want+=(libc6-dev)
  need nft nftables
  need ip iproute2
  need node nodejs
  need npm npm
fi
[ -e /etc/ssl/certs/ca-certificates.crt ] || want+=(ca-certificates)
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || want+=(debian-archive-keyring)

[ ${#want[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ]; then
  echo "ERROR these packages are missing and need root to install: ${want[*]}" >&2
  echo "      run: sudo apt-get install -y --no-install-recommends ${want[*]}" >&2
  exit 1
fi
echo "installing: ${want[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${want[@]}" >/dev/null
