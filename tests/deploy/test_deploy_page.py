"""docs/deploy.md: each way is a few commands, of files that a release has; the one with systemd is typed.

It is typed on a copy of this machine that is gone afterwards: an overlay of its files, in which no systemd
runs. `apt-get` asks nobody there, and `editor` changes nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xdsi.certificates import create_community

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deploy.md").read_text("utf-8")
MOST = 10
WAYS = ("One host with systemd", "One host with containers", "Kubernetes")


def blocks(section: str) -> list[str]:
    """What a section of the page shows to be typed."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(section: str) -> list[str]:
    """The lines of it that are commands, those that go on joined."""
    lines = "".join(blocks(section)).replace("\\\n", " ").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("way", WAYS)
def test_each_way_is_at_most_ten_commands(way: str):
    assert 3 <= len(commands(way)) <= MOST


@pytest.mark.parametrize("way", WAYS)
def test_what_the_commands_name_of_a_release_is_there(way: str):
    named = re.findall(r"xdsi-0\.1\.0-deploy/([\w./-]+)", "".join(blocks(way)))
    assert named
    assert [path for path in named if not (ROOT / "deploy" / path).exists()] == []


def test_two_hosts_are_set_up_in_at_most_ten_commands():
    page = (ROOT / "docs" / "high-availability.md").read_text("utf-8")
    [block] = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len([line for line in block.replace("\\\n", " ").splitlines() if line]) <= MOST


# --- typed -------------------------------------------------------------------------------------------

_OVERLAY = """
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" root
mount --rbind /proc root/proc
mount --rbind /dev root/dev
mkdir root/release root/stubs
cp -a "$2/." root/release/
printf '#!/bin/sh\\nexec /usr/bin/apt-get -y -qq --no-install-recommends "$@"\\n' >root/stubs/apt-get
printf '#!/bin/sh\\n' >root/stubs/editor
printf '#!/bin/sh\\nexit 101\\n' >root/usr/sbin/policy-rc.d
chmod +x root/stubs/* root/usr/sbin/policy-rc.d
exec chroot root /bin/sh -euc "cd /release; PATH=/stubs:/usr/sbin:/usr/bin:/sbin:/bin; export PATH; . ./typed"
"""
#: As the unit starts it: by its user, with what it is handed over.
_SERVED = """
systemctl is-enabled xdsi.target
mkdir /handed; cp /etc/xdsi/keys/node.key /etc/xdsi/credentials/registry/DATABASE_URL /handed/
chown -R xdsi /handed
export XDSI_DATA=/var/lib/xdsi XDSI_TLS__KEY=/handed/node.key XDSI_DATABASE_URL__FILE=/handed/DATABASE_URL
export XDSI_HOST=127.0.0.1 XDSI_PORT=0 XDSI_REGISTRY__MLLP_PORT=0
setpriv --reuid=xdsi --regid=xdsi --clear-groups /opt/xdsi/current/bin/xdsi serve registry \\
    --config /etc/xdsi/xdsi.toml >/said 2>/log & served=$!
tries=0
until grep -q 'registry ready https' /said; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] && kill -0 "$served" || { cat /log; exit 1; }
    sleep 0.1
done
kill "$served"; wait "$served"
echo "served by release $(/opt/xdsi/current/bin/xdsi --version)"
"""


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_one_host_with_systemd_is_set_up_as_the_page_says(tmp_path: Path, long: bool):
    if not long:
        pytest.skip("it makes a release and installs it with all that it needs: --long")
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("an overlay of this machine needs root")
    release, overlay = tmp_path / "release", tmp_path / "overlay"
    overlay.mkdir()
    made = subprocess.run(
        [ROOT / "deploy" / "release.sh", "--no-image", release],
        env=os.environ | {"PYTHON": sys.executable}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert {path.suffix for path in release.iterdir()} >= {".whl", ".gz", ".json", ".lock"}
    community = create_community(release, "Hospital", hosts=("localhost",))
    assert community.trust.name == "trust.pem"
    (release / "database-url").write_text("sqlite:////var/lib/xdsi/registry.sqlite3", "utf-8")
    (release / "typed").write_text("".join(blocks(WAYS[0])) + _SERVED, "utf-8")
    typed = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-euc", _OVERLAY, "sh", overlay, release],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert typed.returncode == 0, typed.stdout + typed.stderr
    assert "enabled" in typed.stdout.splitlines()
    assert "served by release xdsi 0.1.0" in typed.stdout
