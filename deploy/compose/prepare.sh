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
if [ ! -e secrets/s3-secret-key ]; then
    od -An -N 24 -t x1 /dev/urandom | tr -d ' \n' >secrets/s3-secret-key
    printf xdsi >secrets/s3-access-key
    printf '{"identities": [{"name": "xdsi", "actions": ["Admin", "Read", "Write", "List", "Tagging"], "credentials": [{"accessKey": "%s", "secretKey": "%s"}]}]}' \
        "$(cat secrets/s3-access-key)" "$(cat secrets/s3-secret-key)" >secrets/s3.json
fi
if [ ! -e secrets/grafana-password ]; then
    od -An -N 24 -t x1 /dev/urandom | tr -d ' \n' >secrets/grafana-password
fi
# The folder is closed; in the containers other users read them.
chmod 0444 secrets/*
