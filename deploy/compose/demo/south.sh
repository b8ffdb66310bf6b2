# Hospital South: a radiologist finds and fetches the study, equal byte for byte; a clerk sees nothing.
set -eu
. /demo/patience.sh
config="--config /party/xdsi.toml"
# What stands in the preamble is not part of the instance, and is not kept (PS3.10 7.1).
digests() {
    find "$1" -name '*.dcm' -exec sh -c 'for file; do tail -c +129 "$file" | sha256sum; done' sh {} + | sort
}

# The study once it is published, and permitted.
found() {
    # shellcheck disable=SC2086
    manifest=$(xdsi find --patient DEMO-1 --user dr.roe --role 'RAD-PHYS^^2.999.40.1' -q $config | tail -n 1)
    [ -n "$manifest" ]
}
patiently found
for via in rad69 wado-rs; do
    rm -rf "/tmp/$via"
    # shellcheck disable=SC2086
    xdsi fetch "$manifest" --to "/tmp/$via" --via "$via" --user dr.roe --role 'RAD-PHYS^^2.999.40.1' $config
    [ "$(digests "/tmp/$via")" = "$(digests /studies/north)" ] || { echo "$via: bytes differ"; exit 1; }
done

# shellcheck disable=SC2086
seen=$(xdsi find --patient DEMO-1 --user a.clerk --role 'BILLING^^2.999.40.1' -q $config || true)
[ -z "$seen" ] || { echo "the clerk sees $seen"; exit 1; }
echo "South: every byte equal by RAD-69 and WADO-RS; the clerk sees nothing"
