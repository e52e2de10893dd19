#!/bin/sh
# apt.sh PACKAGE: installs it with apt-get as root, or through sudo.
# Fails quietly where there is neither; the caller says what is missing then.
set -eu
command -v apt-get >/dev/null || exit 1
if [ "$(id -u)" -eq 0 ]; then
    as_root="env"
elif command -v sudo >/dev/null; then
    as_root="sudo env"
else
    exit 1
fi
echo "apt-get: $*"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
    $as_root DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" \
        >"$log" 2>&1
}
install "$@" && exit 0
$as_root apt-get update -qq >/dev/null 2>&1 || true
install "$@" || { tail -n 1 "$log" >&2; exit 1; }
