#!/bin/sh
# Prepare a virtual environment for one purpose: tools/setup.sh serve|test|lint|bench|docs
#
# On a machine with only Python and make it installs what is missing, through apt-get where it may (root or a
# password-less sudo); where it may not, it says what is missing and goes on without the part that needs it.
# A second run finds its stamp and does nothing, and needs no network.
#
#   VENV    where the environment goes (default: .venv)
#   PYTHON  the interpreter to build it from (default: the newest CPython >= 3.11 on PATH)

set -eu

purpose=${1:-}
case $purpose in
    serve) extras=http,uvloop modules='httptools, uvloop' ;;
    test) extras=test modules='anyio, httptools, hypothesis, pytest, uvloop, xdist' ;;
    lint) extras=lint modules='mypy, pytest' ;;
    bench) extras=bench modules='aiofiles, anyio, httptools, uvloop' ;;
    docs) extras=docs,test modules='furo, myst_parser, sphinx' ;;
    *)
        echo "usage: tools/setup.sh serve|test|lint|bench|docs" >&2
        exit 2
        ;;
esac

cd "$(dirname -- "$0")/.."
top=$(pwd -P)
venv=${VENV:-.venv}
stamp=$venv/made-for-$purpose
unfinished=$venv/installing # lies there while pip runs: found at the start, it tells of a run that was killed

say() { printf 'setup: %s\n' "$*" >&2; }

# --- which interpreter -----------------------------------------------------------------------------------------------

suits() { # a released CPython that is new enough
    "$1" -I -c 'import sys
sys.exit(not (sys.implementation.name == "cpython" and sys.version_info >= (3, 11)
              and sys.version_info.releaselevel == "final"))' 2>/dev/null
}

identity() { "$1" -I -c 'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null; }

has_ensurepip() { "$1" -I -c 'import ensurepip' 2>/dev/null; }

has_headers() {
    "$1" -I -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' 2>/dev/null
}

choose_python() { # prints the newest one that lacks nothing, or else the newest one
    incomplete=
    for minor in 20 19 18 17 16 15 14 13 12 11 ''; do
        candidate=python3${minor:+.$minor}
        if ! command -v "$candidate" >/dev/null || ! suits "$candidate"; then continue; fi
        if has_ensurepip "$candidate" && has_headers "$candidate"; then
            echo "$candidate"
            return
        fi
        incomplete=${incomplete:-$candidate}
    done
    echo "$incomplete"
}

# --- what the system must have ---------------------------------------------------------------------------------------

has_libdb() { [ -e /usr/include/db.h ] || [ -n "${BERKELEYDB_DIR:-}" ]; }

has_compiler() { command -v cc >/dev/null && [ -e /usr/include/stdlib.h ]; }

has_postgresql() { # Debian keeps its programs off PATH
    command -v postgres >/dev/null || set -- /usr/lib/postgresql/*/bin/postgres
    [ $# = 0 ] || [ -x "$1" ]
}

missing_packages() { # Debian's names of what is not there
    version=$("$python" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    has_ensurepip "$python" || echo "python$version-venv"
    has_headers "$python" || echo "python$version-dev"
    has_compiler || echo "gcc libc6-dev"
    has_libdb || echo libdb5.3-dev
    if [ "$purpose" = test ]; then # what the suite talks to; it is skipped where that is missing
        command -v curl >/dev/null || echo curl
        command -v db5.3_dump >/dev/null || echo db5.3-util
        [ -x /usr/bin/memcached ] || command -v memcached >/dev/null || echo memcached
        [ -x /usr/sbin/mariadbd ] || command -v mariadbd >/dev/null || echo mariadb-server
        has_postgresql || echo postgresql
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2
}

install_packages() { # the lists are fetched only if the first try shows that they are missing or old
    [ $# -gt 0 ] || return 0
    if ! may_install; then
        say "missing on this system: $*"
        say "  to install it: apt-get install $*   (neither root nor a password-less sudo here, so I cannot)"
        return 0
    fi
    say "installing system packages: $*"
    if apt_install "$@"; then return 0; fi
    as_root apt-get update -q >&2 || say "apt-get could not fetch its lists"
    for package in "$@"; do # one by one: a package that cannot be had must not keep out the others
        apt_install "$package" || say "apt-get could not install $package"
    done
}

# --- the environment -------------------------------------------------------------------------------------------------

contents() { # what the stamp says when everything is in place: another folder or other requirements make it stale
    printf '%s\n' "$(cksum <pyproject.toml)" "$top" "${1:-with bdb}"
}

loads() { # what was just installed
    if [ "$bdb" = 'with bdb' ]; then works berkeleydb; else works; fi
}

works() { # the modules of this purpose load from here
    "$venv/bin/python" -I -c "import asyncstore, sys, $modules${1:+, $1}
sys.exit(not asyncstore.__file__.startswith(sys.argv[1]))" "$top/" 2>/dev/null
}

without_bdb() {
    say "going on without Berkeley DB (extra 'bdb'), whose headers or compiler are missing; run me again once they are there"
}

is_done() {
    [ -e "$stamp" ] && [ ! -e "$unfinished" ] || return 1
    if [ -n "${PYTHON:-}" ] && [ "$(identity "$PYTHON")" != "$(identity "$venv/bin/python")" ]; then return 1; fi
    case $(cat "$stamp") in
        "$(contents)") works berkeleydb ;;
        "$(contents 'without bdb')")
            if has_libdb && has_compiler; then return 1; fi
            works && without_bdb
            ;;
        *) return 1 ;;
    esac
}

is_sound() { # an environment that pip can be run in
    [ ! -e "$unfinished" ] || return 1
    "$venv/bin/python" -I -m pip --version >/dev/null 2>&1 && suits "$venv/bin/python" || return 1
    [ "$(identity "$python")" = "$(identity "$venv/bin/python")" ] || return 1
    for other in "$venv"/made-for-*; do # made in another folder: its scripts point there
        if [ -e "$other" ] && ! grep -qxF "$top" "$other"; then return 1; fi
    done
}

install() {
    say "installing asyncstore[$extras] into $venv ($("$python" -V))"
    : >"$unfinished"
    if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$extras]"; then
        rm -f "$unfinished" # pip undoes what it could not finish
        say "pip could not install asyncstore[$extras]; the reason stands above"
        exit 1
    fi
    rm -f "$unfinished"
}

make_venv() {
    if is_sound; then return 0; fi
    if [ -e "$venv" ]; then say "$venv is unfinished, broken or of another Python: making it anew"; fi
    if ! has_ensurepip "$python"; then
        say "cannot make a virtual environment: $python has no 'ensurepip' (on Debian it comes with python3-venv)"
        exit 1
    fi
    rm -rf "$venv"
    "$python" -m venv "$venv"
}

# Two makes at once take turns. The lock is the folder itself: nothing to clean up.
if command -v flock >/dev/null; then
    exec 9<.
    flock 9
fi

if is_done; then exit 0; fi

if [ -n "${PYTHON:-}" ]; then
    python=$PYTHON
    suits "$python" || { say "PYTHON=$python is no released CPython >= 3.11"; exit 1; }
else
    python=$(choose_python)
    if [ -z "$python" ] && may_install; then
        install_packages python3 python3-venv python3-dev
        python=$(choose_python)
    fi
    [ -n "$python" ] || { say "no released CPython >= 3.11 on PATH; install one or name it: make PYTHON=/path/to/python"; exit 1; }
fi

# shellcheck disable=SC2046  # one word a package
install_packages $(missing_packages)

if has_libdb && has_compiler && has_headers "$python"; then
    bdb='with bdb'
    extras=$extras,bdb
else
    bdb='without bdb'
    without_bdb
fi

make_venv
install
if ! loads; then
    say "$venv holds packages that do not load: making it anew"
    : >"$unfinished"
    make_venv
    install
    loads || { say "the packages do not load; try: $venv/bin/python -c 'import $modules'"; exit 1; }
fi
contents "$bdb" >"$stamp"
