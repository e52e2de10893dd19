#!/bin/sh
# browser.sh: finds or installs a Chromium for the tests and writes its path to .venv/.chromium.
# The distribution's comes first, then Playwright's own. Without one browser tests skip.
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh

# Ubuntu's packages are stubs that start a snap, which runs neither for root nor under Playwright.
is_real() {
    case "$1 $(readlink -f "$1")" in
    */snap*) return 1 ;;
    esac
    ! head -c 2048 "$1" | grep -aq '/snap/' && "$1" --version >/dev/null 2>&1
}

on_path() {
    for name in ${MULISA_CHROMIUM:-} chromium chromium-browser google-chrome google-chrome-stable; do
        path=$(command -v "$name") || continue
        if is_real "$path"; then
            echo "$path"
            return
        fi
    done
    return 1
}

playwrights_own() {
    .venv/bin/python - 2>/dev/null <<'PYTHON'
import pathlib, sys
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    path = pathlib.Path(playwright.chromium.executable_path)
print(path)
sys.exit(not path.exists())
PYTHON
}

install_playwrights() {
    echo "browser: Playwright's Chromium"
    .venv/bin/playwright install --with-deps chromium >/dev/null 2>&1 ||
        .venv/bin/playwright install chromium >/dev/null 2>&1
}

# Playwright drives whichever browser is found with a Node of its own, which wants this library.
mend_playwright() {
    .venv/bin/playwright --version >/dev/null 2>&1 || sh scripts/apt.sh libatomic1 ||
        echo "browser: Playwright does not start; install libatomic1"
}

is_ubuntu() { grep -qs '^ID=ubuntu' /etc/os-release; }

mend_playwright
found=$(on_path || playwrights_own || true)
if [ ! -x "$found" ] && ! is_ubuntu && sh scripts/apt.sh chromium; then
    mend_playwright
found=$(on_path || true)
fi
if [ ! -x "$found" ] && install_playwrights; then
    found=$(playwrights_own || true)
fi
if [ -x "$found" ]; then
    echo "$found" >.venv/.chromium
    echo "browser: $found"
else
    rm -f .venv/.chromium
    echo "browser: none found and none could be installed (apt-get install chromium); its tests skip"
fi
