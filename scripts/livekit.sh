#!/bin/sh
# livekit.sh: builds a LiveKit server for the tests into the user's cache folder, once, and writes
# its path to .venv/.livekit. Without a Go tool chain there is none, and its tests skip.
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh

version=v1.11.0 # the newest that `go install` takes: later ones have replace directives
folder="${XDG_CACHE_HOME:-$HOME/.cache}/mulisa"
server="$folder/livekit-server-$version"

works() { [ -x "$1" ] && "$1" --version >/dev/null 2>&1; }

find_go() {
    for path in "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go/bin/go; do
        [ -x "$path" ] && echo "$path" && return
    done
    return 1
}

build() {
    echo "livekit: building livekit-server $version (about 3 minutes)"
    mkdir -p "$folder"
    building=$(mktemp -d "$folder/building.XXXXXX")
    trap 'rm -rf "$building"' EXIT
    GOBIN="$building" "$1" install "github.com/livekit/livekit-server/cmd/server@$version" || return
    mv "$building/server" "$server"
}

if ! works "$server"; then
    if ! go=$(find_go); then
        rm -f .venv/.livekit
        echo "livekit: no Go tool chain here (https://go.dev/dl), so no LiveKit server; its tests skip"
        exit 0
    fi
    if ! build "$go" || ! works "$server"; then
        rm -f .venv/.livekit
        echo "livekit: the server could not be built; its tests skip" >&2
        exit 0
    fi
fi
[ ! -d .venv ] || echo "$server" >.venv/.livekit
echo "livekit: $server"
