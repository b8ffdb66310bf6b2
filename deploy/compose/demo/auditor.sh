# The community: the trail has everything, the refusal of the clerk last, and nothing was changed.
set -eu
report() {
    xdsi audit report --patient DEMO-1 --config /party/xdsi.toml
}

tries=0
until report | grep -q BILLING; do
    tries=$((tries + 1))
    [ "$tries" -lt 120 ] || { echo "the trail does not tell of the clerk"; exit 1; }
    sleep 3
done
report
xdsi audit verify --config /party/xdsi.toml
echo "the demo held"
