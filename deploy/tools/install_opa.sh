#!/usr/bin/env bash
# Install the Open Policy Agent into .tools/bin/opa, built from source. Needed to change policies, not to run the hub.
#
# find_go.sh says where Go comes from.
# The second run finds everything in place and returns at once.
set -euo pipefail
cd "$(dirname "$0")/../.."

OPA_VERSION=1.22.0
GO_LEAST_MINOR=26   # opa 1.22's go.mod asks for Go 1.26

tools="$PWD/.tools"
opa="$tools/bin/opa"

if [ -x "$opa" ] && "$opa" version | grep -qx "Version: $OPA_VERSION"; then
  exit 0
fi

. deploy/tools/find_go.sh

echo "building opa $OPA_VERSION with $("$go" version | cut -d' ' -f3); the first time takes a few minutes"
GOBIN="$tools/bin" GOTOOLCHAIN=local GOFLAGS="${GOFLAGS:-} -trimpath" CGO_ENABLED=0 \
  "$go" install "github.com/open-policy-agent/opa@v$OPA_VERSION"
"$opa" version | head -n 1
