#!/bin/sh
# turn.sh: finds or installs coturn for the slow tests and writes its path to .venv/.turnserver.
# Without it the tests of relays skip.
set -eu
cd "$(dirname "$0")/.."

# Debian's package starts a TURN server for the whole machine; tests start their own.
stop_service() {
    [ -d /run/systemd/system ] || return 0
    as_root=""
    [ "$(id -u)" -eq 0 ] || as_root="sudo"
    $as_root systemctl disable --quiet --now coturn >/dev/null 2>&1 ||
        echo "turn: the service 'coturn' could not be switched off; nothing here needs it"
}

if ! command -v turnserver >/dev/null && sh scripts/apt.sh coturn; then
    stop_service
fi
if path=$(command -v turnserver); then
    echo "$path" >.venv/.turnserver
    echo "turn: $path"
else
    rm -f .venv/.turnserver
    echo "turn: no coturn here and it could not be installed (apt-get install coturn); its tests skip"
fi
