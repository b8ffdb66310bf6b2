#!/bin/sh
# Installs a release of xdsi beside the others, and makes it the current one: first installation and upgrade alike.
#
#   install.sh [--root DIR] [--lock FILE] WHEEL    install the release of the wheel, and use it
#   install.sh [--root DIR] --roll-back            use the release that was used before
#   install.sh [--root DIR] --list                 which releases are there
#
# --lock is the list of what the wheel needs, with hashes; requirements.lock beside the wheel when not given.
# With --root everything is put below DIR, and nothing of the running system is touched.
# Nothing of a release that runs is changed: a failure on the way leaves the current one current.
set -eu
umask 022

here=$(cd "$(dirname "$0")" && pwd)
root='' lock='' wheel='' wanted=install

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
}

while [ $# -gt 0 ]; do
    case $1 in
        --root) [ $# -gt 1 ] || fail "--root needs a folder"; root=${2%/}; shift ;;
        --lock) [ $# -gt 1 ] || fail "--lock needs a file"; lock=$2; shift ;;
        --roll-back) wanted=roll_back ;;
        --list) wanted=list ;;
        --help) usage; exit 0 ;;
        -*) fail "no option $1; --help tells which there are" ;;
        *) [ -z "$wheel" ] || fail "one wheel at a time"; wheel=$1 ;;
    esac
    shift
done

[ -n "$root" ] || [ "$(id -u)" = 0 ] || fail "run it as root, or give --root DIR"
home=$root/opt/xdsi
releases=$home/releases

# The link changes at once: there is no moment without a current release.
point() {
    ln -s "$2" "$home/.$1.$$"
    mv -T "$home/.$1.$$" "$home/$1"
}

release_of() {
    readlink "$home/$1" 2>/dev/null | sed 's|^releases/||'
}

# That of the host: no release can install anything by itself.
pip() {
    python3 -m pip --python "$release/bin/python" --disable-pip-version-check --no-input "$@"
}

put_units() {
    units=$root/usr/local/lib/systemd/system
    mkdir -p "$units" "$root/usr/local/lib/sysusers.d" "$root/usr/local/lib/tmpfiles.d" "$root/etc/xdsi"
    install -m 0644 "$1/xdsi@.service" "$1/xdsi.target" "$units/"
    install -m 0644 "$1/sysusers.conf" "$root/usr/local/lib/sysusers.d/xdsi.conf"
    install -m 0644 "$1/tmpfiles.conf" "$root/usr/local/lib/tmpfiles.d/xdsi.conf"
    [ -e "$root/etc/xdsi/xdsi.toml" ] || install -m 0644 "$1/xdsi.toml" "$root/etc/xdsi/xdsi.toml"
}

# Let a release that is whole be the current one, its units with it.
activate() {
    before=$(release_of current)
    put_units "$releases/$1/deploy"
    point current "releases/$1"
    if [ -n "$before" ] && [ "$before" != "$1" ]; then
        point previous "releases/$before"
    fi
    if [ -z "$root" ]; then
        systemd-sysusers xdsi.conf
        systemd-tmpfiles --create xdsi.conf
        systemctl daemon-reload
        systemctl try-restart xdsi.target
    fi
    echo "xdsi $1 is current${before:+ (before: $before)}"
}

install_release() {
    [ -n "$wheel" ] || fail "name a wheel; --help tells how"
    [ -f "$wheel" ] || fail "$wheel is no file"
    name=$(basename "$wheel")
    version=$(expr "$name" : 'xdsi-\([0-9][^-]*\)-py3-none-any\.whl$') || fail "$name is no wheel of xdsi"
    lock=${lock:-$(dirname "$wheel")/requirements.lock}
    [ -f "$lock" ] || fail "$lock is no file; --lock names what the wheel needs"
    python3 -c 'import sys, venv, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "python3 must be 3.11 or later, with venv and pip: apt-get install python3-venv python3-pip"

    release=$releases/$version
    if [ -e "$release/whole" ]; then
        echo "xdsi $version is installed already"
    else
        mkdir -p "$releases"
        # What an installation that broke off has left.
        rm -rf "$release"
        python3 -m venv --without-pip "$release"
        pip install --quiet --no-deps --only-binary :all: --require-hashes -r "$lock"
        pip install --quiet --no-deps "$wheel"
        pip check --quiet || fail "what $lock lists is not what $name needs"
        "$release/bin/xdsi" --version >/dev/null || fail "xdsi $version does not run here"
        mkdir "$release/deploy"
        cp "$here/xdsi@.service" "$here/xdsi.target" "$here/sysusers.conf" "$here/tmpfiles.conf" "$here/xdsi.toml" \
            "$0" "$release/deploy/"
        : >"$release/whole"
    fi
    activate "$version"
}

roll_back() {
    before=$(release_of previous)
    [ -n "$before" ] || fail "no release was used before"
    [ -e "$releases/$before/whole" ] || fail "xdsi $before is no longer there"
    activate "$before"
}

list() {
    for release in "$releases"/*/whole; do
        [ -e "$release" ] || continue
        version=$(basename "$(dirname "$release")")
        mark=''
        [ "$version" != "$(release_of current)" ] || mark=' current'
        [ "$version" != "$(release_of previous)" ] || mark=' previous'
        echo "$version$mark"
    done
}

case $wanted in
    install) install_release ;;
    roll_back) roll_back ;;
    list) list ;;
esac
