#!/bin/sh
# Makes a release: wheel, sdist, lock, SBOM, deploy files, image, checksums.
#
#   release.sh [--no-image] [FOLDER]      into FOLDER, dist/ when not given
#
# From the same commit and lock the same bytes come, the image apart: its base has a date of its own. BASE names
# another base image, with a digest where it has to stay the same; wheels below FOLDER/wheels are used in the image
# where there are any.
set -eu
umask 022

cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
base=${BASE:-docker.io/library/debian:bookworm-slim}
cyclonedx=cyclonedx-bom==7.5.0
image=yes folder=dist

for word in "$@"; do
    case $word in
        --no-image) image=no ;;
        --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
        -*) echo "release.sh: no option $word" >&2; exit 1 ;;
        *) folder=$word ;;
    esac
done

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
revision=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
rm -f "$folder"/xdsi-* "$folder/requirements.lock" "$folder/SHA256SUMS"

"$python" -m hatchling build -d "$folder" >&2
wheel=$(basename "$folder"/xdsi-*-py3-none-any.whl)
version=$(expr "$wheel" : 'xdsi-\([^-]*\)-')
cp requirements.lock "$folder/requirements.lock"
git archive --prefix "xdsi-$version-deploy/" HEAD:deploy | gzip -n >"$folder/xdsi-$version-deploy.tar.gz"

# What is needed to make a release alone stays apart from what runs, and from what develops it.
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"$python" -m venv "$tools"
"$tools/bin/python" -m pip install --quiet --disable-pip-version-check "$cyclonedx"
"$tools/bin/cyclonedx-py" requirements --pyproject pyproject.toml --output-reproducible --spec-version 1.6 \
    --output-format JSON --output-file "$folder/xdsi-$version.cdx.json" requirements.lock

engine=$(command -v podman || command -v docker || true)
if [ "$image" = yes ] && [ -n "$engine" ]; then
    cp deploy/image/health.py "$folder/health.py"
    # The format in which podman keeps the health check; docker knows no other.
    case $engine in *podman) format='--format docker' ;; *) format='' ;; esac
    # shellcheck disable=SC2086
    "$engine" build $format --network host --file deploy/image/Containerfile --build-arg "BASE=$base" \
        --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --tag "xdsi:$version" "$folder" >&2
    rm "$folder/health.py"
    "$engine" save --output "$folder/xdsi-$version-image.tar" "xdsi:$version" >&2
elif [ "$image" = yes ]; then
    echo "release.sh: no image, because neither podman nor docker is here" >&2
fi

(cd "$folder" && sha256sum xdsi-* requirements.lock >SHA256SUMS)
cat "$folder/SHA256SUMS"
