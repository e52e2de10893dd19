#!/bin/sh
# nft.sh: finds or installs nftables and iproute2 for the slow tests of networks behind NATs, and
# writes the path of nft to .venv/.nft. Without them, or without root, those tests skip.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/sbin"

command -v nft >/dev/null || sh scripts/apt.sh nftables || true
command -v ip >/dev/null || sh scripts/apt.sh iproute2 || true
if path=$(command -v nft) && command -v ip >/dev/null; then
    echo "$path" >.venv/.nft
    echo "nft: $path"
else
    rm -f .venv/.nft
    echo "nft: no nftables here and it could not be installed (apt-get install nftables iproute2); its tests skip"
fi
