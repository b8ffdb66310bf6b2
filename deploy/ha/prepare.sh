#!/bin/sh
# Writes what each host of a highly available community gets into ./hosts: three with PostgreSQL, Patroni and etcd,
# two with the services and HAProxy. What is there already stays: passwords are made once, and by chance.
#
#   ./prepare.sh n1=10.0.0.1 n2=10.0.0.2 n3=10.0.0.3 a=10.0.0.4 b=10.0.0.5 services=10.0.0.10
#
# `services` is the address that clients know; it moves between a and b (keepalived, or the network's own means).
# Where the hosts differ from Debian 12: PG_BIN, PG_DATA, PG_RUN, PATRONI and XDSI name the folders of PostgreSQL's
# programs, its data and its sockets, and those of the files written here.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
umask 077

PG_BIN=${PG_BIN:-/usr/lib/postgresql/15/bin}
PG_DATA=${PG_DATA:-/var/lib/postgresql/15/xdsi}
PG_RUN=${PG_RUN:-/var/run/postgresql}
PATRONI=${PATRONI:-/etc/patroni}
XDSI=${XDSI:-/etc/xdsi}

for host in n1 n2 n3 a b services; do
    eval "$host="
done
for word in "$@"; do
    case $word in
    n1=?* | n2=?* | n3=?* | a=?* | b=?* | services=?*) eval "${word%%=*}='${word#*=}'" ;;
    *) echo "$word is not known; write n1=, n2=, n3=, a=, b= or services= and an address" >&2; exit 2 ;;
    esac
done
for host in n1 n2 n3 a b services; do
    eval "address=\$$host"
    [ -n "$address" ] || { echo "$host has no address; write $host=10.0.0.1" >&2; exit 2; }
done

by_chance() {
    od -An -N 24 -t x1 /dev/urandom | tr -d ' \n'
}

mkdir -p hosts
for secret in superuser replication restapi services; do
    [ -s "hosts/$secret.password" ] || by_chance >"hosts/$secret.password"
done
# PostgreSQL encrypts between the hosts; who is spoken to, its passwords prove.
[ -s hosts/server.key ] || openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=xdsi database" \
    -keyout hosts/server.key -out hosts/server.pem 2>/dev/null

filled() {
    sed -e "s|@PG_BIN@|$PG_BIN|g; s|@PG_DATA@|$PG_DATA|g; s|@PG_RUN@|$PG_RUN|g" \
        -e "s|@PATRONI@|$PATRONI|g; s|@XDSI@|$XDSI|g" \
        -e "s|@NAME@|$1|g; s|@ADDRESS@|$2|g; s|@SERVICES@|$services|g" \
        -e "s|@N1@|$n1|g; s|@N2@|$n2|g; s|@N3@|$n3|g; s|@A@|$a|g; s|@B@|$b|g" \
        -e "s|@SUPERUSER_PASSWORD@|$(cat hosts/superuser.password)|g" \
        -e "s|@REPLICATION_PASSWORD@|$(cat hosts/replication.password)|g" \
        -e "s|@RESTAPI_PASSWORD@|$(cat hosts/restapi.password)|g" "$here/$3"
}

for name in n1 n2 n3; do
    eval "address=\$$name"
    mkdir -p "hosts/$name"
    filled "$name" "$address" etcd >"hosts/$name/etcd"
    filled "$name" "$address" patroni.yaml >"hosts/$name/config.yml"
    cp hosts/server.pem hosts/server.key "hosts/$name/"
done
for name in a b; do
    eval "address=\$$name"
    mkdir -p "hosts/$name"
    filled "$name" "$address" haproxy.cfg >"hosts/$name/haproxy.cfg"
    filled "$name" "$address" xdsi.toml >"hosts/$name/xdsi.toml"
    printf 'postgresql://xdsi:%s@127.0.0.1:5000/xdsi' "$(cat hosts/services.password)" >"hosts/$name/DATABASE_URL"
done
