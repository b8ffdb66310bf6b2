#!/bin/sh
# Asks whether anything that runs has a known weakness: pip-audit on requirements.lock. Exit status 1 when something has;
# where nobody can be asked, that is said and it is 0.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
audit=pip-audit==2.10.1

# What is needed for this alone stays apart from what runs, and from what develops it.
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"$python" -m venv "$tools/venv"
if ! "$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$audit" 2>"$tools/why"; then
    echo "audit.sh: not asked, $audit cannot be installed: $(tail -n 1 "$tools/why")" >&2
    exit 0
fi
status=0
"$tools/venv/bin/pip-audit" --disable-pip --require-hashes --requirement requirements.lock --progress-spinner off \
    --timeout 10 --format json --output "$tools/found.json" 2>"$tools/why" || status=$?
if [ ! -s "$tools/found.json" ]; then
    echo "audit.sh: not asked, nobody answers: $(tail -n 1 "$tools/why")" >&2
    exit 0
fi
cat "$tools/why" >&2
exit "$status"
