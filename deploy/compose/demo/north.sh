# Hospital North: feeds a patient, stores a study, publishes it, and lets radiologists see it.
set -eu
config="--config /party/xdsi.toml"

# Services start side by side: the first of the acts waits for them.
tries=0
# shellcheck disable=SC2086
until xdsi patient add DEMO-1 --name 'Roe^Rick' --to registry:2576 $config; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || exit 1
    sleep 2
done

rm -rf /studies/north
python3 -c 'from pathlib import Path; from xdsi.builtin_study import write_study; write_study(Path("/studies/north"))'
# shellcheck disable=SC2086
{
    until xdsi import /studies/north $config; do
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || exit 1
        sleep 2
    done
    xdsi publish /studies/north --patient DEMO-1 $config
    xdsi consent set DEMO-1 permit --role 'RAD-PHYS^^2.999.40.1' --purpose TREAT $config
}
