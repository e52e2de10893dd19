#!/bin/sh
# lock.sh [--upgrade]: pins all packages with hashes, for every platform, naming no index.
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh
export UV_CUSTOM_COMPILE_COMMAND="make lock"
uv=$(command -v uv || echo .tools/bin/uv)

compile() {
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header "$@"
}

compile pyproject.toml --extra azure --extra compare --extra local --group dev -o requirements/dev.lock "$@"
compile pyproject.toml --extra compare --extra local --group build -c requirements/dev.lock \
    -o requirements/run.lock "$@"
compile pyproject.toml --extra local --group dev --group plugins -o requirements/plugins.lock "$@"
echo uv | compile - --no-annotate -o requirements/tools.lock "$@"
wc -l requirements/*.lock
