# Finds out what is missing on a Debian machine, and installs it. Sourced by quickstart and test.
#
# A PostgreSQL that was there before is not touched: where one is installed nothing is installed, and where none is, the
# package is kept from making and starting a cluster of its own.

OLDEST_POSTGRES=15
# shellcheck disable=SC2154 # `here` is the repository, set by whoever sources this
OLDEST_RUST=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$here/Cargo.toml")

say() { printf '%s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# The newest installed PostgreSQL server that is new enough; nothing when there is none.
installed_postgres() {
    found=
    for dir in /usr/lib/postgresql/*/bin; do
        if [ ! -x "$dir/initdb" ] || [ ! -x "$dir/postgres" ]; then continue; fi
        major=${dir#/usr/lib/postgresql/}
        major=${major%/bin}
        case $major in *[!0-9]*) continue ;; esac
        [ "$major" -ge "$OLDEST_POSTGRES" ] || continue
        if [ -z "$found" ] || [ "$major" -gt "$found" ]; then found=$major; fi
    done
    [ -z "$found" ] || printf '%s\n' "$found"
}

# The packages that are missing, one a line, those given among them. The PostgreSQL server is `postgresql`, which is
# Debian's current major.
missing_packages() {
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || printf '%s\n' "$package"
    done
    command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || printf 'gcc\n'
    [ -e /usr/include/stdio.h ] || printf 'libc6-dev\n'
    command -v pkg-config >/dev/null 2>&1 || printf 'pkg-config\n'
    if [ -z "$(installed_postgres)" ]; then
        printf 'postgresql\n'
    fi
    command -v psql >/dev/null 2>&1 || printf 'postgresql-client\n'
    if ! have_rust; then
        command -v curl >/dev/null 2>&1 || printf 'curl\n'
        [ -e /etc/ssl/certs/ca-certificates.crt ] || printf 'ca-certificates\n'
    fi
}

# Runs a command with the right to install, as far as that is there without asking.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

may_install() {
    [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; }
}

# Installs what is missing from Debian's packages, those given among it, or prints the one command that does and stops.
install_packages() {
    packages=$(missing_packages "$@" | tr '\n' ' ')
    packages=${packages% }
    [ -n "$packages" ] || return 0
    command -v apt-get >/dev/null 2>&1 ||
        fail "missing: $packages. This machine has no apt-get; install them its own way, then run this again."
    if ! may_install; then
        say "missing: $packages. Have this run as root, then run this again:"
        say ""
        say "    apt-get update && apt-get install -y $packages"
        say ""
        exit 1
    fi
    say "installing from Debian's packages: $packages"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >&2 ||
        fail "apt-get update failed: is there a network? Look at the lines above."
    case " $packages " in *" postgresql "*) keep_postgres_quiet ;; esac
    case " $packages " in *" pgpool2 "*) keep_services_quiet ;; esac
    # shellcheck disable=SC2086 # a list of words
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages >&2; then
        let_be
        fail "apt-get install failed: look at the lines above."
    fi
    let_be
}

QUIET=/etc/postgresql-common/createcluster.d/steeldb-quickstart.conf

# While the package is installed it makes no cluster: SteelDB makes its own. The setting is taken back afterwards.
keep_postgres_quiet() {
    as_root mkdir -p "${QUIET%/*}"
    printf 'create_main_cluster = false\n' | as_root tee "$QUIET" >/dev/null
}

POLICY=/usr/sbin/policy-rc.d
policy_is_ours=

# Pgpool-II's package would start a service; the bench starts a Pgpool-II of its own.
keep_services_quiet() {
    if [ ! -e "$POLICY" ]; then
        policy_is_ours=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
        as_root chmod 755 "$POLICY"
    fi
}

let_be() {
    [ ! -e "$QUIET" ] || as_root rm -f "$QUIET"
    [ -z "$policy_is_ours" ] || as_root rm -f "$POLICY"
    case " $packages " in
        *" pgpool2 "*) as_root systemctl disable pgpool2 >/dev/null 2>&1 || true ;;
    esac
}

# Where rustup puts cargo, for shells that do not know it yet.
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

# Whether cargo is there and new enough.
have_rust() {
    command -v cargo >/dev/null 2>&1 || return 1
    version=$(rustc --version 2>/dev/null | cut -d' ' -f2) || return 1
    [ -n "$version" ] || return 1
    [ "$(printf '%s\n%s\n' "$OLDEST_RUST" "$version" | sort -V | head -n 1)" = "$OLDEST_RUST" ]
}

# Installs Rust for this user: by Debian's rustup package where there is one, else by rustup's own script.
install_rust() {
    have_rust && return 0
    say "installing Rust ($OLDEST_RUST or newer)"
    if ! command -v rustup >/dev/null 2>&1 && may_install && apt-cache policy rustup 2>/dev/null | grep -q 'Candidate: [0-9]'; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends rustup >&2 || true
    fi
    if command -v rustup >/dev/null 2>&1; then
        rustup toolchain install stable --profile minimal >&2 || no_rust
        rustup default stable >&2 || no_rust
    else
        script=$(mktemp)
        # The second address holds the same script, for networks that let only rustup's downloads through.
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs -o "$script" 2>/dev/null ||
            curl --proto '=https' --tlsv1.2 -sSf https://static.rust-lang.org/rustup/rustup-init.sh -o "$script" ||
            { rm -f "$script"; no_rust; }
        sh "$script" -y --profile minimal --no-modify-path >&2 || { rm -f "$script"; no_rust; }
        rm -f "$script"
    fi
    hash -r
    have_rust || no_rust
}

no_rust() {
    fail "Rust $OLDEST_RUST or newer could not be installed: is there a network? See https://rustup.rs, then run this again."
}

# A component of the toolchain, such as clippy: where rustup manages it, it is added when it is missing.
need_component() {
    cargo "$1" --version >/dev/null 2>&1 && return 0
    command -v rustup >/dev/null 2>&1 && rustup component add "${2:-$1}" >&2 && return 0
    fail "cargo $1 is missing and could not be added; install it, then run this again."
}
