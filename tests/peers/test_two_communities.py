"""Two communities at once on one machine, each by `xdsi up --offset`, used by the command line alone; and
joined by their gateways."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.support.community import StudyFiles, cx, different, studies_in
from tests.support.forked import run
from xdsi.builtin_study import PATIENT_ID, write_study
from xdsi.community import ORDER, PORTS, Addresses, environment

pytestmark = [pytest.mark.heavy]

READY_SECONDS, STOP_SECONDS = 90, 40
HOMES = {"east": "urn:oid:2.999.71", "west": "urn:oid:2.999.72"}


@dataclass
class Community:
    """One `xdsi up`, and how its commands are told where it is."""

    name: str
    offset: int
    folder: Path
    process: subprocess.Popen[str]
    lines: list[str]

    def gateway(self, side: str) -> str:
        """An endpoint of the gateway."""
        return f"http://127.0.0.1:{8060 + self.offset}/xca/{side}"

    def xdsi(self, *words: object, across: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command as a user of this community; `across` through its gateway."""
        settings = environment(Addresses(offset=self.offset), self.folder)
        settings["XDSI_HOME_COMMUNITY_ID"] = HOMES[self.name]
        if across:
            settings["XDSI_GATEWAY_URL"] = self.gateway("initiating")
        return run(*words, env=settings)

    def children(self) -> dict[str, int]:
        """The services' process ids, by service."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                # One process forks all of them.
                up = parent_of(parent_of(int(folder.name)))
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except (OSError, IndexError, ValueError):
                continue
            if up == self.process.pid and b"serve" in words:
                found[words[words.index(b"serve") + 1].decode()] = int(folder.name)
        return found

    def listens(self) -> dict[str, bool]:
        """Whether something listens, for each port."""
        return {
            name: _listens(port + self.offset)
            for name, port in PORTS.items()
            # The identity service runs where a provider is named, and nobody listens to archives that do not
            # move images.
            if not name.endswith(("UDP_PORT", "MOVE_PORT")) and "IDENTITY" not in name
        }


def parent_of(process_id: int) -> int:
    return int(Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[1])


def _own_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")}


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _free_offset(but: set[int]) -> int:
    # Below the range from which the system takes the ports of outgoing connections.
    for offset in random.sample(range(1_000, 20_000, 10), 1_900):
        if offset not in but and not any(_listens(port + offset) for port in PORTS.values()):
            return offset
    raise AssertionError("no offset with free ports")


@contextmanager
def up(name: str, folder: Path, offsets: dict[str, int]) -> Iterator[Community]:
    offset = offsets[name]
    others = {
        HOMES[other]: f"http://127.0.0.1:{8060 + at}/xca/responding"
        for other, at in offsets.items()
        if other != name
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "xdsi", "up", "--data", folder, "--offset", str(offset)],
        cwd=folder.parent,  # where it leaves a note for other commands
        env={
            **_own_environment(),
            "XDSI_HOME_COMMUNITY_ID": HOMES[name],
            "XDSI_COMMUNITIES": json.dumps(others),
            "XDSI_GATEWAY_URL": f"http://127.0.0.1:{8060 + offset}/xca/initiating",
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    community = Community(name, offset, folder, process, [])
    try:
        yield community
    finally:
        if process.poll() is None:
            process.kill()
        for child in community.children().values():
            os.kill(child, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()


def read_until_ready(community: Community) -> None:
    assert community.process.stdout
    for line in community.process.stdout:
        community.lines.append(line.strip())
        if line.strip() == "ready":
            return
    raise AssertionError(f"not ready: {community.lines}")


@pytest.fixture(scope="module")
def communities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Community]]:
    offsets: dict[str, int] = {}
    for name in HOMES:
        offsets[name] = _free_offset(set(offsets.values()))
    with ExitStack() as stack:
        started = [stack.enter_context(up(name, tmp_path_factory.mktemp(name), offsets)) for name in HOMES]
        for community in started:
            read_until_ready(community)
        yield started


@pytest.fixture(scope="module")
def east(communities: list[Community]) -> Community:
    return communities[0]


@pytest.fixture(scope="module")
def west(communities: list[Community]) -> Community:
    return communities[1]


@pytest.fixture(scope="module")
def shared(east: Community, tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    """A study that was imported and published in the east."""
    folder = tmp_path_factory.mktemp("study")
    write_study(folder)
    (study,) = studies_in(folder)
    for words in (("patient", "add", PATIENT_ID), ("import", folder), ("publish", study.uid)):
        done = east.xdsi(*words)
        assert done.returncode == 0, f"xdsi {words[0]}: {done.stderr}"
    return study


@pytest.fixture(scope="module")
def manifest(east: Community, shared: StudyFiles) -> dict[str, str]:
    """The manifest of the shared study, as it is found."""
    found = east.xdsi("find", "--patient", PATIENT_ID, "--json")
    assert found.returncode == 0, found.stderr
    (only,) = json.loads(found.stdout)
    return only


def test_each_says_where_its_services_are_and_then_that_it_is_ready(communities: list[Community]):
    for community in communities:
        *services, ready = community.lines

        assert ready == "ready"
        assert {line.split()[0]: line.split()[1] for line in services} == {
            "audit-repository": f"http://127.0.0.1:{8050 + community.offset}",
            "registry": f"http://127.0.0.1:{8010 + community.offset}",
            "repository": f"http://127.0.0.1:{8020 + community.offset}",
            "imaging-source": f"http://127.0.0.1:{8030 + community.offset}",
            "gateway": f"http://127.0.0.1:{8060 + community.offset}",
            "consumer": f"http://127.0.0.1:{8040 + community.offset}",
        }
        assert all(community.listens().values())


def test_what_one_community_shares_is_found_and_fetched_there(
    east: Community, shared: StudyFiles, manifest: dict[str, str], tmp_path: Path
):
    assert manifest["study_instance_uid"] == shared.uid

    for via in ("rad69", "wado-rs"):
        folder = tmp_path / via
        fetched = east.xdsi("fetch", manifest["manifest_id"], "--to", folder, "--via", via)
        assert fetched.returncode == 0, fetched.stderr
        assert different(folder, [shared]) == []


def test_and_is_unknown_in_the_other(west: Community, manifest: dict[str, str], tmp_path: Path):
    assert json.loads(west.xdsi("find", "--patient", PATIENT_ID, "--json").stdout) == []

    fetched = west.xdsi("fetch", manifest["manifest_id"], "--to", tmp_path / "images")

    assert fetched.returncode == 1
    assert manifest["manifest_id"] in fetched.stderr
    assert list(tmp_path.rglob("*.dcm")) == []


def test_but_through_the_gateways_it_is_found_and_fetched_from_there(
    west: Community, shared: StudyFiles, manifest: dict[str, str], tmp_path: Path
):
    found = west.xdsi("find", "--patient", PATIENT_ID, "--json", across=True)
    assert found.returncode == 0, found.stderr
    (only,) = json.loads(found.stdout)
    assert only == {**manifest, "home_community_id": HOMES["east"]}

    for via in ("rad69", "wado-rs"):
        folder = tmp_path / via
        words = (
            "fetch",
            only["manifest_id"],
            "--home",
            only["home_community_id"],
            "--to",
            folder,
            "--via",
            via,
        )
        fetched = west.xdsi(*words, across=True)
        assert fetched.returncode == 0, fetched.stderr
        assert different(folder, [shared]) == []


def test_so_do_programs_and_clinicians_at_the_consumer_of_the_other(
    west: Community, shared: StudyFiles, manifest: dict[str, str]
):
    base = f"http://127.0.0.1:{8040 + west.offset}"
    with httpx2.Client(base_url=base, follow_redirects=True, trust_env=False, timeout=60) as client:
        found = client.post("/api/studies", json={"patient_id": PATIENT_ID}).json()
        assert (found["complete"], found["unanswered"]) == (True, [])
        (study,) = found["studies"]
        assert study["home_community_id"] == HOMES["east"]

        wanted = {
            name: study[f"{name}_id"] for name in ("document_unique", "repository_unique", "home_community")
        }
        opened = client.post(
            "/api/manifests", json={f"{name}_id": value for name, value in wanted.items()}
        ).json()
        came = {
            one["sop_instance_uid"]: client.get(one["href"]).content
            for series in opened["series"]
            for one in series["instances"]
        }
        assert came == {uid: path.read_bytes() for uid, path in shared.shared.items()}

        search = client.get("/").text
        fields = dict(re.findall(r'name="([^"]+)"[^>]*value="([^"]*)"', search))
        action = re.search(r'<form[^>]*action="([^"]+)"', search)[1]  # type: ignore[index]
        page = client.post(action, data=fields | {"patient_id": PATIENT_ID}, headers={"origin": base}).text
        assert f"from community {HOMES['east']}" in page
        (link,) = re.findall(r'href="(/studies/[^"/]+)"', page)
        images = re.findall(r'href="(/instances/[^"]+)"', client.get(link).text)
        assert {client.get(image).content for image in images} == set(came.values())
        picture = client.get(f"{link}/thumbnail")
        assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
        # The timeline counts what the manifest of the other community says.
        assert re.search(rf"{len(shared.shared)} images? in \d+ series", " ".join(page.split()))


def test_an_operator_has_a_running_source_examined_from_its_page(east: Community):
    base = f"http://127.0.0.1:{8030 + east.offset}"
    with httpx2.Client(base_url=base, follow_redirects=True, trust_env=False, timeout=60) as client:
        page = client.get("/doctor").text
        token = re.search(r'name="token" value="([^"]+)"', page)[1]  # type: ignore[index]
        client.post("/doctor", data={"token": token}, headers={"origin": base})
        deadline = time.monotonic() + 60
        while client.get("/doctor/progress").json()["runs"]:
            assert time.monotonic() < deadline, "the examination does not end"
        page = client.get("/doctor").text

    assert "XDSI_REGISTRY_URL" in page
    assert '<span class="severity">Error</span>' not in page
    assert "mistake of xdsi" not in page


def test_what_our_own_community_has_is_fetched_without_a_detour(
    east: Community, shared: StudyFiles, tmp_path: Path
):
    (only,) = json.loads(east.xdsi("find", "--patient", PATIENT_ID, "--json", across=True).stdout)
    assert only["home_community_id"] == HOMES["east"]

    folder = tmp_path / "images"
    fetched = east.xdsi("fetch", only["manifest_id"], "--to", folder, "--via", "wado-rs", across=True)

    assert fetched.returncode == 0, fetched.stderr
    assert different(folder, [shared]) == []


def test_the_trail_of_each_tells_of_its_own_alone(east: Community, west: Community, shared: StudyFiles):
    deadline = time.monotonic() + 20
    while True:
        searched = east.xdsi("audit", "search", "--patient", PATIENT_ID, "--type", "RAD-68", "--json")
        assert searched.returncode == 0, searched.stderr
        records = json.loads(searched.stdout)
        if len(records) == 2 or time.monotonic() > deadline:
            break

    assert {record["source"] for record in records} == {"xdsi-imaging-source", "xdsi-repository"}
    assert {patient for record in records for patient in record["patients"]} == {cx(PATIENT_ID)}
    elsewhere = west.xdsi("audit", "search", "--patient", PATIENT_ID, "--type", "RAD-68", "--json")
    assert json.loads(elsewhere.stdout) == []


def test_a_community_whose_gateway_is_down_is_named_and_what_the_other_has_is_shown(
    west: Community, east: Community, shared: StudyFiles
):
    for _ in range(5):  # it is started again within seconds, and may be up before it is asked
        os.kill(west.children()["gateway"], signal.SIGKILL)
        found = east.xdsi("find", "--patient", PATIENT_ID, "--json", across=True)
        if found.returncode:
            break

    assert found.returncode == 1
    assert len(json.loads(found.stdout)) == 1
    assert f"XDSUnavailableCommunity: {HOMES['west']}" in found.stderr


def test_a_service_that_dies_is_started_again(west: Community):
    before = west.children()["repository"]
    os.kill(before, signal.SIGKILL)

    deadline = time.monotonic() + READY_SECONDS
    while west.children().get("repository", before) == before or not all(west.listens().values()):
        assert time.monotonic() < deadline, west.listens()
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_it_stops_in_order_with_status_0(communities: list[Community], number: signal.Signals):
    # The last tests: nothing comes after them.
    community = communities[number is signal.SIGINT]
    children = community.children()
    assert len(children) == len(ORDER)

    community.process.send_signal(number)

    assert community.process.wait(STOP_SECONDS) == 0
    assert not any(community.listens().values())
    assert not [pid for pid in children.values() if Path(f"/proc/{pid}").exists()]
