# Hospital North: feeds a patient, stores a study, publishes it, and lets radiologists see it.
set -eu
. /demo/patience.sh
config="--config /party/xdsi.toml"

# Services start side by side: the first of the acts waits for them.
# shellcheck disable=SC2086
patiently xdsi patient add DEMO-1 --name 'Roe^Rick' --to registry:2576 $config

rm -rf /studies/north
python3 -c 'from pathlib import Path; from xdsi.builtin_study import write_study; write_study(Path("/studies/north"))'
# shellcheck disable=SC2086
{
    patiently xdsi import /studies/north $config
    patiently xdsi publish /studies/north --patient DEMO-1 $config
    patiently xdsi consent set DEMO-1 permit --role 'RAD-PHYS^^2.999.40.1' --purpose TREAT $config
}
