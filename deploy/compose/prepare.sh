#!/bin/sh
# Makes the secrets that compose.yaml names, where they are not there yet: nothing has a password by default.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
if [ ! -e secrets/database-password ]; then
    od -An -N 24 -t x1 /dev/urandom | tr -d ' \n' >secrets/database-password
    printf 'postgresql://xdsi:%s@database/xdsi' "$(cat secrets/database-password)" >secrets/database-url
fi
# The folder is closed; in the containers other users read them.
chmod 0444 secrets/*
