#!/bin/sh
# Says hello again and again; reads its configuration at the start and on SIGHUP.
set -eu

load() {
    . /etc/hello/hello.conf
    . /etc/hello/sites.d/main
}

load
trap load HUP
trap 'exit 0' TERM

while :; do
    echo "$GREETING, which serves $SITE"
    sleep "$INTERVAL" &
    # Unlike sleep itself, wait ends as soon as a signal comes.
    wait $! || true
done
