#!/usr/bin/env bash
# Install Helm into .tools/bin/helm, built from source. Needed to render and check the chart, not to run the hub.
#
# find_go.sh says where Go comes from.
# The second run finds everything in place and returns at once.
set -euo pipefail
cd "$(dirname "$0")/../.."

HELM_VERSION=3.22.0
GO_LEAST_MINOR=26   # helm 3.22's go.mod asks for Go 1.26

tools="$PWD/.tools"
helm="$tools/bin/helm"

if [ -x "$helm" ] && "$helm" version --template '{{.Version}}' | grep -qx "v$HELM_VERSION"; then
  exit 0
fi

. deploy/tools/find_go.sh

echo "building helm $HELM_VERSION with $("$go" version | cut -d' ' -f3); the first time takes a few minutes"
# A binary from `go install` does not know its own version unless it is told.
GOBIN="$tools/bin" GOTOOLCHAIN=local GOFLAGS="${GOFLAGS:-} -trimpath" CGO_ENABLED=0 "$go" install \
  -ldflags "-X helm.sh/helm/v3/internal/version.version=v$HELM_VERSION" "helm.sh/helm/v3/cmd/helm@v$HELM_VERSION"
"$helm" version --short
