#!/bin/sh
# Install the official AsyncAPI parser into .tools/asyncapi, as the lock file beside its package.json has it. Needs
# node and npm; without them the tests that ask the parser are skipped.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
to="$here/../../.tools/asyncapi"
mkdir -p "$to"
cp "$here/asyncapi/package.json" "$here/asyncapi/package-lock.json" "$here/asyncapi/check.mjs" "$to/"
cd "$to"
npm ci --ignore-scripts --no-audit --no-fund
