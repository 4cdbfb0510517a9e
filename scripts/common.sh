# What scripts/test and scripts/pg share; sourced, not run.

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
