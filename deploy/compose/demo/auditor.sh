# The community: the trail has everything, the refusal of the clerk last, and nothing was changed.
set -eu
. /demo/patience.sh
report() {
    xdsi audit report --patient DEMO-1 --config /party/xdsi.toml
}
tells_of_the_clerk() {
    report | grep BILLING >/dev/null
}

patiently tells_of_the_clerk
report
xdsi audit verify --config /party/xdsi.toml
echo "the demo held"
