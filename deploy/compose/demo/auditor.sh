# The community: the trail has everything, and nothing was changed.
set -eu
xdsi audit verify --url https://audit-repository:8050 --config /party/xdsi.toml
xdsi audit report --patient DEMO-1 --url https://audit-repository:8050 --config /party/xdsi.toml
echo "the demo held"
