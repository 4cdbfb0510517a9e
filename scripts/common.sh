# What the scripts share; sourced, not run.

say() { printf '%s\n' "$*" >&2; }

# fail MESSAGE [HINT]: prints both and ends the script.
fail() {
    say "error: $1"
    if [ $# -gt 1 ]; then say "hint: $2"; fi
    exit 1
}

# pg_program NAME: prints the path of a PostgreSQL program, from PATH or from the newest version of the
# distribution, which keeps the server's programs outside PATH.
pg_program() {
    command -v "$1" && return
    local found
    found=$(find /usr/lib/postgresql/*/bin/"$1" 2>/dev/null | sort -V | tail -n 1)
    [ -n "$found" ] && printf '%s\n' "$found"
}

# use_build_directory: sets the one build directory of scripts/test and .ci/run. It is outside the clone, so that
# a fresh clone builds warm.
use_build_directory() {
    export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-${HOME:?is not set; set CARGO_TARGET_DIR}/.cache}/reinstate/target}"
}

# as_root COMMAND…: fails if this user is neither root nor may use sudo without a password.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

# install_packages NAME…: by apt-get.
install_packages() {
    local command="apt-get install $*"
    command -v apt-get >/dev/null ||
        fail "unable to install '$*': this system has no apt-get" \
            "install the equivalent by hand, then run this script again"
    as_root true ||
        fail "unable to install '$*': neither root nor sudo without a password" "as root: $command"

    # The package of the server would create and start a system-wide cluster; this drop-in says not to.
    # It is only there during the installation.
    local drop_in=/etc/postgresql-common/createcluster.d/reinstate.conf
    as_root mkdir -p "$(dirname "$drop_in")"
    printf 'create_main_cluster = false\n' | as_root tee "$drop_in" >/dev/null
    trap "as_root rm -f '$drop_in'" EXIT
    say "installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
    as_root rm -f "$drop_in"
    trap - EXIT
}
