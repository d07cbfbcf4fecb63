#!/bin/sh
# What is shipped cannot lie: the feature with which replicas lie in tests is in no build of the command.
set -eu

cd "$(dirname "$0")/../.."
features=$(cargo tree --locked -q -p steeldb -e normal,build,features --prefix none)
if printf '%s\n' "$features" | grep -E '^replica feature "lies"'; then
    printf 'the command is built with the feature "lies": only dependencies of tests may ask for it\n' >&2
    exit 1
fi
# The check itself: where a test asks for it, the feature shows.
cargo tree --locked -q -p attacks -e normal,dev,features --prefix none | grep -qE '^replica feature "lies"' || {
    printf 'cargo tree does not show the feature "lies" any more where it is: mend %s\n' "$0" >&2
    exit 1
}
