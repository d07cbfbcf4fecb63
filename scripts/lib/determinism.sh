#!/bin/sh
# The rooms that must behave the same everywhere see no clock, thread, chance, hash order or runtime: time and nonces are
# given to them, and they iterate over ordered maps only.
set -eu

cd "$(dirname "$0")/../.."
wrong=0
for room in consensus txn sql; do
    for crate in tokio mio rand getrandom; do
        if cargo tree --locked -q -p "$room" -e normal --prefix none | grep -q "^$crate v"; then
            printf '%s depends on %s: see cargo tree -p %s -e normal -i %s\n' "$room" "$crate" "$room" "$crate" >&2
            wrong=1
        fi
    done
    # Tests may do as they like.
    found=$(find "$room/src" -name '*.rs' ! -name 'tests.rs' ! -path '*/tests/*' -exec awk '
        /^#\[cfg\(test\)\]/ { nextfile }
        /^[[:space:]]*\/\// { next }
        /HashMap|HashSet|SystemTime|std::time::Instant|std::thread|std::fs|std::net/ { print FILENAME ":" FNR ": " $0 }
    ' {} +)
    if [ -n "$found" ]; then
        printf '%s must be deterministic:\n%s\n' "$room" "$found" >&2
        wrong=1
    fi
done
exit "$wrong"
