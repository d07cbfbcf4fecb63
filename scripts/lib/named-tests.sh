#!/bin/sh
# The tests that the documentation names exist: a promise whose test was renamed or removed is no promise.
set -eu

cd "$(dirname "$0")/../.."
all=$(mktemp)
trap 'rm -f "$all"' EXIT

# "room name" of every test in the sources.
find . -name target -prune -o -name '*.rs' -print | sed 's|^\./||' | xargs awk '
    /^[[:space:]]*#\[(tokio::)?test[](]/ { test = 1; next }
    test && match($0, /fn [a-z0-9_]+\(/) {
        room = FILENAME; sub(/\/.*/, "", room)
        print room, substr($0, RSTART + 3, RLENGTH - 4)
        test = 0
    }
' >"$all"

wrong=0
missing() {
    printf '%s names the test %s, which does not exist\n' "$1" "$2" >&2
    wrong=1
}

# The table of known flaws names each test with its room: `room::…::name`.
flaws=docs/known-flaws.md
named=$(grep -oE '`[a-z-]+(::[a-z0-9_]+)+`' "$flaws" | tr -d '`')
[ -n "$named" ] || { printf '%s names no test\n' "$flaws" >&2; exit 1; }
for test in $named; do
    grep -qx "${test%%::*} ${test##*::}" "$all" || missing "$flaws" "$test"
done
# Every flaw has one.
without=$(awk -F'|' 'NF == 6 && /^\| [^-]/ && $2 != " flaw " && $4 !~ /::/ { print $2 }' "$flaws")
if [ -n "$without" ]; then
    printf '%s: no test is named for\n%s\n' "$flaws" "$without" >&2
    wrong=1
fi

# Elsewhere a test is known by its long name, or by how it begins: `app_c_availability_…`.
for page in docs/*.md; do
    for test in $(grep -oE '`[a-z0-9]+(_[a-z0-9]+){4,}(_…)?`' "$page" | tr -d '`'); do
        case $test in
            *_…) grep -q " ${test%…}" "$all" || missing "$page" "$test" ;;
            *) grep -q " $test\$" "$all" || missing "$page" "$test" ;;
        esac
    done
done
exit "$wrong"
