#!/bin/sh
# Restores a whole community from what back-up.sh made: into an empty place, here or on another host, services stopped.
#
#   restore.sh database [MOMENT]   PostgreSQL, as it was at the last moment that is whole, or at another one
#   restore.sh files [MOMENT]      what lay in files; on each host, with its PART
#   restore.sh objects             what lay in object stores, into those that CONFIG names now; on one host
#
# A moment is whole when its files of every part are there of which KEYS has a folder: all hosts choose the same one.
#
# BACKUP, KEYS, PART, XDSI_DATA, ETC: as for back-up.sh; the last two are where everything is to be, and are empty
# CONFIG: settings that name the object stores (ETC/xdsi.toml); XDSI: the command that copies to them (xdsi)
# PGDATA: folder for the data of PostgreSQL, which is empty; PG_BIN: the folder of its programs
# PG_USER: the user that PostgreSQL runs as (postgres), where this is root
# PG_OPTIONS: options for its first start, such as "-c port=5433"
set -eu
umask 077
: "${BACKUP:?name the folder of the backup}" "${KEYS:?name the folder of keys and settings}"
part=${PART:-host}

refuse() {
    echo "$1" >&2
    exit 1
}

is_whole() {
    [ -e "$BACKUP/moments/$1/archived" ] || return 1
    for kept in "$KEYS"/*/; do
        [ -e "$BACKUP/moments/$1/$(basename "$kept").whole" ] || return 1
    done
}

last_whole() {
    for each in "$BACKUP"/moments/*/; do
        if is_whole "$(basename "$each")"; then last=$(basename "$each"); fi
    done
    echo "${last:-}"
}

choose() {
    name=${1:-$(last_whole)}
    [ -n "$name" ] || refuse "no moment in $BACKUP/moments is whole by $KEYS; name one to go back to nevertheless"
    moment=$BACKUP/moments/$name
}

# Makes a folder, which may be there and be empty.
new() {
    [ ! -d "$1" ] || [ -z "$(ls -A "$1")" ] || refuse "$1 is not empty; restore into an empty place"
    mkdir -p "$1"
}

as_postgres() {
    if [ "$(id -u)" = 0 ]; then runuser -u "${PG_USER:-postgres}" -- "$@"; else "$@"; fi
}

database() {
    : "${PGDATA:?name the folder for the data of PostgreSQL}"
    control=${PG_BIN:-/usr/lib/postgresql/15/bin}/pg_ctl
    [ -e "$moment/archived" ] || refuse "$name is no moment of this backup; $BACKUP/moments has them"
    new "$PGDATA"
    cp -a "$BACKUP/base/." "$PGDATA/"
    # It archives nothing until somebody says where: its log must not get among that of before.
    cat >>"$PGDATA/postgresql.auto.conf" <<END
restore_command = 'cp "$BACKUP/wal/%f" "%p"'
recovery_target_name = '$name'
recovery_target_action = 'promote'
archive_mode = 'off'
END
    touch "$PGDATA/recovery.signal"
    chmod 0700 "$PGDATA"
    if [ "$(id -u)" = 0 ]; then chown -R "${PG_USER:-postgres}:" "$PGDATA"; fi
    as_postgres "$control" start --pgdata "$PGDATA" --log "$PGDATA/restore.log" --wait --timeout 3600 \
        --options "${PG_OPTIONS:-}" >/dev/null || {
        tail -n 5 "$PGDATA/restore.log" >&2
        refuse "PostgreSQL does not start; see $PGDATA/restore.log"
    }
    while [ -e "$PGDATA/recovery.signal" ]; do
        as_postgres "$control" status --pgdata "$PGDATA" >/dev/null || refuse "it stopped; see $PGDATA/restore.log"
        sleep 1
    done
    echo "the database is as it was at $name"
}

files() {
    [ -e "$moment/$part.whole" ] || refuse "$name is no moment of this backup of $part; $BACKUP/moments has them"
    data=${XDSI_DATA:-/var/lib/xdsi} etc=${ETC:-/etc/xdsi}
    new "$data"
    new "$etc"
    rsync --archive "$BACKUP/contents/" "$moment/$part/" "$KEYS/$part/data/" "$data/"
    rsync --archive "$KEYS/$part/etc/" "$etc/"
    echo "$data and $etc are as they were at $name"
}

objects() {
    etc=${ETC:-/etc/xdsi}
    for service in repository imaging-source; do
        credentials=
        if [ -d "$etc/credentials/$service" ]; then credentials=$etc/credentials/$service; fi
        CREDENTIALS_DIRECTORY=$credentials "${XDSI:-xdsi}" db load-objects "$BACKUP/objects" \
            --service "$service" --config "${CONFIG:-$etc/xdsi.toml}"
    done
}

case ${1:-} in
database | files) choose "${2:-}"; "$1" ;;
objects) objects ;;
*) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
