#!/bin/sh
# Put promtool, which checks the alarms, into .tools/bin: out of Debian's package `prometheus`, without installing that
# and the server in it. Needs apt and dpkg-deb; elsewhere install Prometheus, and promtool is found on the PATH.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
to="$here/../../.tools/bin"
for needed in apt-get dpkg-deb; do
    if ! command -v "$needed" >/dev/null; then
        echo "$needed is not here: install Prometheus (https://prometheus.io/download/), which brings promtool" >&2
        exit 1
    fi
done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
chmod 755 "$scratch" # apt fetches as a user of its own
cd "$scratch"
apt-get download -qq prometheus || {
    echo "Debian's package lists may be missing or old: run \`apt-get update\` as root, then this again" >&2
    exit 1
}
dpkg-deb -x prometheus_*.deb unpacked
mkdir -p "$to"
cp unpacked/usr/bin/promtool "$to/promtool"
"$to/promtool" --version | head -1
