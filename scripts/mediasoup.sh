#!/bin/sh
# mediasoup.sh: builds mediasoup's worker for the tests into the user's cache folder, once, and
# writes its path to .venv/.mediasoup; installs the packages of examples/mediasoup. Without a
# C++ compiler there is none, and its tests skip.
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh

example=examples/mediasoup
version=$(sed -n 's/^ *"mediasoup": "\(.*\)".*/\1/p' "$example/package.json")
folder="${XDG_CACHE_HOME:-$HOME/.cache}/mulisa"
worker="$folder/mediasoup-worker-$version"

give_up() {
    rm -f .venv/.mediasoup
    echo "mediasoup: $1; its tests skip"
    exit 0
}

# Without the environment that its application gives it, it only says that it misses its father.
works() { [ -x "$1" ] && "$1" 2>&1 </dev/null | grep -q "mediasoup-worker::main"; }

# The sources are of 2021: their gyp wants a name that Python has moved since, and SIGSTKSZ, which
# with today's glibc is no constant any more, must be one. Both are given to this build only.
prepare() {
    mkdir -p "$1/python"
    cat >"$1/python/sitecustomize.py" <<'PYTHON'
import collections, collections.abc

collections.MutableSet = collections.abc.MutableSet
PYTHON
    cat >"$1/sigstksz.h" <<'HEADER'
#include <signal.h>
#undef SIGSTKSZ
#define SIGSTKSZ 16384
HEADER
}

build() {
    echo "mediasoup: building the worker of mediasoup $version (some minutes)"
    mkdir -p "$folder"
    building=$(mktemp -d "$folder/building.XXXXXX")
    trap 'rm -rf "$building"' EXIT
    prepare "$building"
    cp -R "$example/node_modules/mediasoup/worker" "$building/worker"
    python=$(pwd)/.venv/bin/python
    (
        cd "$building/worker"
        export PYTHON="$python" PYTHONPATH="$building/python" PYTHONWARNINGS=ignore
        export CXXFLAGS="-include $building/sigstksz.h ${CXXFLAGS:-}"
        make >"$building/log" 2>&1
    ) || { tail -n 30 "$building/log" >&2; return 1; }
    strip -o "$building/stripped" "$building/worker/out/Release/mediasoup-worker" || return
    chmod 755 "$building/stripped"
    mv "$building/stripped" "$worker"
}

installed="$example/node_modules/.package-lock.json"
if [ ! -e "$installed" ] || [ "$example/package-lock.json" -nt "$installed" ]; then
    echo "mediasoup: packages of $example/package-lock.json"
    NPM_FOLDER="$example" sh scripts/npm.sh ci --ignore-scripts --silent --no-fund --no-audit ||
        give_up "its packages could not be had"
    touch "$installed"
fi
if ! works "$worker"; then
    command -v c++ >/dev/null && command -v make >/dev/null ||
        give_up "no C++ compiler and make here (apt-get install build-essential), so no worker"
    build || give_up "the worker could not be built"
    works "$worker" || give_up "the worker does not start"
fi
[ ! -d .venv ] || echo "$worker" >.venv/.mediasoup
echo "mediasoup: $worker"
