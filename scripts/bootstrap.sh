#!/bin/sh
# bootstrap.sh run|dev|plugins: makes .venv from requirements/run.lock or dev.lock with the system's
# Python, or .venv-plugins from plugins.lock: LiveKit Agents pins other versions than we do.
# Never downloads an interpreter. Removes nothing that is there already.
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh

fail() {
    echo "set-up: $*" >&2
    exit 1
}

find_python() {
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        path=$(command -v "$name") || continue
        if "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$path"
            return
        fi
    done
    fail "no Python >= 3.11 on the PATH; install one (apt-get install python3)"
}

pip_into_tools() {
    PIP_ROOT_USER_ACTION=ignore "$@" -m pip install --quiet --disable-pip-version-check \
        --require-hashes --only-binary :all: --upgrade --target .tools -r requirements/tools.lock
}

# pip, else a virtual environment's own pip, else the distribution's python3-venv.
install_uv() {
    echo "uv: from PyPI into .tools"
    if "$python" -m pip --version >/dev/null 2>&1; then
        pip_into_tools "$python"
        return
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        sh scripts/apt.sh python3-venv || sh scripts/apt.sh "python$version-venv" ||
            fail "uv, pip and venv are missing and could not be installed; install uv, or python3-venv"
    fi
    "$python" -m venv --clear .tools/pip
    pip_into_tools .tools/pip/bin/python
    rm -rf .tools/pip
}

lock=requirements/$1.lock
venv=.venv
[ "$1" != plugins ] || venv=.venv-plugins
python=$(find_python)
uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    uv=.tools/bin/uv
    if [ ! -x "$uv" ]; then install_uv; fi
fi

export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 VIRTUAL_ENV="$PWD/$venv"
if [ ! -x "$venv/bin/python" ]; then
    echo "venv: $venv with $("$python" --version)"
    "$uv" venv --quiet --no-project --python "$python" "$venv" ||
        fail "$venv could not be made; remove it and try again"
fi
echo "packages: $lock"
"$uv" pip install --quiet --require-hashes -r "$lock" ||
    fail "packages of $lock could not be installed; is a package index reachable?"
"$uv" pip install --quiet --no-deps --no-build-isolation --editable . ||
    fail "mulisa itself could not be installed from pyproject.toml"
