#!/bin/sh
# Backs up a whole community beside its running services: database, documents, instances, trail, keys and settings.
#
#   back-up.sh base    a copy of PostgreSQL, from which its log is replayed; once a week
#   back-up.sh files   what lies in files and object stores, and a moment to which all of it can be restored; every hour
#
# Where services are on several hosts, `files` is three steps, with a name for the moment: `before NAME` on each host,
# then `moment NAME` on one, then `after NAME` on each.
#
# BACKUP    folder of the backup; PostgreSQL copies its log into BACKUP/wal (docs/restore-drill.md)
# KEYS      folder, somewhere else, for keys and settings: they must not lie beside what they open
# PART      name of what this host has (host)
# XDSI_DATA data folder of the services (/var/lib/xdsi)
# ETC       folder of their settings and keys (/etc/xdsi)
# CONFIG    settings that name an object store (ETC/xdsi.toml); XDSI: the command that copies from it (xdsi)
# PGHOST, PGPORT, PGUSER, PGPASSFILE: the administrator of PostgreSQL
set -eu
umask 077
: "${BACKUP:?name the folder of the backup}" "${KEYS:?name a folder for keys and settings, another one}"
XDSI_DATA=${XDSI_DATA:-/var/lib/xdsi}
ETC=${ETC:-/etc/xdsi}
CONFIG=${CONFIG:-$ETC/xdsi.toml}
PART=${PART:-host}
name=${2:-}
moment=$BACKUP/moments/$name

ask() {
    psql --no-psqlrc --no-align --tuples-only --quiet --set ON_ERROR_STOP=1 --dbname postgres --command "$1"
}

base() {
    mkdir -p "$BACKUP"
    rm -rf "$BACKUP/base.part"
    pg_basebackup --pgdata "$BACKUP/base.part" --wal-method stream --checkpoint fast --no-password
    rm -rf "$BACKUP/base.before"
    if [ -d "$BACKUP/base" ]; then mv "$BACKUP/base" "$BACKUP/base.before"; fi
    mv "$BACKUP/base.part" "$BACKUP/base"
    sync -f "$BACKUP"
}

# The secrets of a service, where they are files.
credentials() {
    if [ -d "$ETC/credentials/$1" ]; then echo "$ETC/credentials/$1"; fi
}

# What is appended to, before the moment: an audit record is then in a copied spool, or in the trail, or in both, and
# a checkpoint that was published is never ahead of the trail that it vouches for.
before() {
    mkdir -p "$moment/$PART"
    (cd "$XDSI_DATA" && find . \( -name blobs -o -name instances -o -name incoming -o -name spool -o -name transcoded \
        -o -name replica -o -name workers \) -prune -o -type f ! -name '*.sqlite3*' ! -name cursor ! -name lock \
        ! -name '*.part' ! -name audit-signing.key -print0) |
        rsync --archive --from0 --files-from - --ignore-missing-args "$XDSI_DATA/" "$moment/$PART/"
}

moment() {
    ask "SELECT pg_create_restore_point('$name')" >/dev/null
    log=$(ask "SELECT pg_walfile_name(pg_switch_wal())")
    until [ -s "$BACKUP/wal/$log" ]; do
        ask "SELECT 'the log is not archived: ' || last_failed_wal FROM pg_stat_archiver
            WHERE last_failed_time > coalesce(last_archived_time, '-infinity')" >&2
        sleep 1
    done
    touch "$moment/archived"
}

# What never changes, after the moment: bytes are there before the rows that show them, and stay a day longer.
after() {
    for folder in repository/blobs imaging-source/instances; do
        [ -d "$XDSI_DATA/$folder" ] || continue
        mkdir -p "$BACKUP/contents/$folder"
        rsync --archive --ignore-existing --exclude incoming "$XDSI_DATA/$folder/" "$BACKUP/contents/$folder/"
    done
    if grep -qs '^[^#]*s3://' "$CONFIG"; then
        for service in repository imaging-source; do
            CREDENTIALS_DIRECTORY=$(credentials "$service") "${XDSI:-xdsi}" db save-objects "$BACKUP/objects" \
                --service "$service" --config "$CONFIG"
        done
    fi
    mkdir -p "$KEYS/$PART/etc" "$KEYS/$PART/data"
    rsync --archive "$ETC/" "$KEYS/$PART/etc/"
    (cd "$XDSI_DATA" && find . -name audit-signing.key -print0) |
        rsync --archive --from0 --files-from - "$XDSI_DATA/" "$KEYS/$PART/data/"
    sync -f "$BACKUP" "$KEYS"
    # From now on it can be restored to.
    touch "$moment/$PART.whole"
    echo "$name"
}

case ${1:-} in
base) base ;;
before | moment | after)
    [ -n "$name" ] || { echo "name the moment: back-up.sh $1 2026-05-04" >&2; exit 2; }
    "$1"
    ;;
files)
    name=$(date --utc +%Y%m%dT%H%M%SZ)
    moment=$BACKUP/moments/$name
    before
    moment
    after
    ;;
*) sed -n '2,16s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
