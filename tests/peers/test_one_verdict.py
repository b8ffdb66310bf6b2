"""What an instance is told does not depend on the door: C-STORE, STOW-RS and `xdsi import` agree."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging_source.dimse.listener import DimseListener
from imaging_source.domain.intake import WARNING
from imaging_source.settings import ImagingSourceSettings
from shared.dicom.json import items, texts
from shared.dicom.multipart import closing, content_type, new_boundary, part_head
from shared.dicom.uids import DEFLATED_FRAMES, DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from tests.peers.test_dimse_limits import Peer
from tests.support.dicom import CT
from tests.support.faulty_files import OTHER_ENCODINGS, REFUSED, TOLERATED, a_data_set, a_file, element
from tests.support.http_server import serving
from tests.support.intake import an_intake, stow_app
from xdsi.import_ import Imported, import_files

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SYNTAXES = (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE)


@dataclass
class Doors:
    """Three imaging sources, each behind one door, so that none knows an instance from another."""

    dimse: dict[str, Peer]
    settings: ImagingSourceSettings
    importing: ImagingSourceSettings
    folder: Path
    port: int
    count: int = 0

    def uid(self) -> str:
        self.count += 1
        return f"2.25.7{self.count:06d}"

    async def by_c_store(self, data_set: bytes, uid: str, syntax: str) -> tuple[int, bool]:
        """The status, and whether it was told why."""
        answer = await asyncio.to_thread(self.dimse[syntax].store, data_set, uid=uid)
        return answer.Status, bool(answer.ErrorComment)

    async def by_stow(self, data_set: bytes, uid: str, syntax: str) -> tuple[int, bool]:
        return await self._imported(self.settings, data_set, uid, syntax)

    async def by_import(self, data_set: bytes, uid: str, syntax: str) -> tuple[int, bool]:
        return await self._imported(self.importing, data_set, uid, syntax)

    async def _imported(
        self, target: ImagingSourceSettings, data_set: bytes, uid: str, syntax: str
    ) -> tuple[int, bool]:
        path = self.folder / "one"
        path.write_bytes(a_file(data_set, uid, syntax))
        return verdict(await import_files(target, [path]), path)


def verdict(imported: Imported, path: Path) -> tuple[int, bool]:
    told = {**imported.warned, **imported.refused}
    if not told:
        return 0, False
    (named,) = told
    assert named == str(path)
    return int(told[named].rpartition("(")[2][:4], 16), True


@asynccontextmanager
async def a_source(folder: Path, **changes):
    async with an_intake(folder, **changes) as intake:
        listener = DimseListener(intake.store, intake.trail, intake.settings, intake.unit)
        await listener.start()
        app = stow_app(intake)
        async with serving(app) as server:
            yield intake.settings.model_copy(update={"port": server.port}), listener
        await listener.stop()


@asynccontextmanager
async def doors(folder: Path, **changes):
    async with (
        a_source(folder / "dimse", **changes) as (_, listener),
        a_source(folder / "stow", **changes) as (stow, _),
        a_source(folder / "import", **changes) as (importing, _),
    ):
        peers = {
            syntax: await asyncio.to_thread(
                partial(Peer, listener.port, contexts=((CT, syntax),), idle_seconds=None)
            )
            for syntax in (*SYNTAXES, DEFLATED_LE)
        }
        yield Doors(peers, stow, importing, folder, listener.port)
        for peer in peers.values():
            await asyncio.to_thread(peer.close)


async def told(at: Doors, data_set: bytes, uid: str, syntax: str) -> set[tuple[int, bool]]:
    return {
        await at.by_c_store(data_set, uid, syntax),
        await at.by_stow(data_set, uid, syntax),
        await at.by_import(data_set, uid, syntax),
    }


async def test_every_door_gives_the_same_verdict_on_every_fault(tmp_path):
    async with doors(tmp_path) as at:
        for fault in TOLERATED:
            uid = at.uid()
            assert await told(at, fault.applied(a_data_set(uid)), uid, EXPLICIT_LE) == {(WARNING, True)}, (
                fault
            )
        for fault in REFUSED:
            uid = at.uid()
            (one,) = await told(at, fault.applied(a_data_set(uid)), uid, EXPLICIT_LE)
            assert one[0] in (0xC000, 0xA900), fault
        for declared, true in OTHER_ENCODINGS:
            uid = at.uid()
            assert await told(at, a_data_set(uid, true), uid, declared) == {(WARNING, True)}
        uid = at.uid()
        assert await told(at, a_data_set(uid), uid, EXPLICIT_LE) == {(0, False)}


@pytest.fixture(scope="module")
def open_doors(tmp_path_factory):
    """Doors that stay open for many examples, and what runs a question to them."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    opened = doors(tmp_path_factory.mktemp("doors"))
    yield run(opened.__aenter__()), run
    run(opened.__aexit__(None, None, None))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@given(data=st.data())
@settings(max_examples=60)
def test_and_on_whatever_else_happens_to_a_data_set(data, open_doors):
    at, run = open_doors
    faults = data.draw(st.lists(st.sampled_from(TOLERATED + REFUSED), max_size=3))
    damage = data.draw(
        st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=2)
    )

    uid = at.uid()
    octets = bytearray(a_data_set(uid))
    for place, octet in damage:
        octets[int(place * len(octets))] = octet
    broken = bytes(octets)
    for fault in faults:
        broken = fault.applied(broken)

    assert len(run(told(at, broken, uid, EXPLICIT_LE))) == 1


async def test_the_answer_of_stow_names_the_instance_the_reason_and_the_warning(tmp_path):
    boundary = new_boundary()
    body = part_head(boundary, [("Content-Type", "application/dicom")])
    body += a_file(TOLERATED[0].applied(a_data_set())) + closing(boundary)
    async with doors(tmp_path) as at, httpx2.AsyncClient() as http:
        answer = await http.post(
            f"http://127.0.0.1:{at.settings.port}/dicomweb/studies",
            content=body,
            headers={"Content-Type": content_type(boundary)},
        )

    (stored,) = items(answer.json(), 0x00081199)
    assert answer.status_code == 202
    assert texts(stored, 0x00081196) == [str(WARNING)]
    assert answer.headers["warning"] == '299 xdsi "a delimiter out of place was skipped: (FFFE,E00D)"'


PRIVATE = "1.3.12.2.1107.5.9.1"


async def test_a_private_sop_class_is_stored_by_every_door(tmp_path):
    uid = "2.25.99"
    data_set = a_data_set(uid).replace(CT.encode() + b"\0", PRIVATE.encode().ljust(len(CT) + 1, b"\0"))
    async with doors(tmp_path) as at:
        peer = await asyncio.to_thread(Peer, at.port, contexts=((PRIVATE, EXPLICIT_LE),))
        answer = await asyncio.to_thread(peer.store, data_set, uid=uid, sop_class=PRIVATE, context=PRIVATE)
        await asyncio.to_thread(peer.close)

        assert answer.Status == 0x0000
        assert (await at.by_import(data_set, uid, EXPLICIT_LE))[0] in (0, WARNING)


async def test_frames_that_are_deflated_each_by_itself_are_negotiated(tmp_path):
    plain = a_data_set()
    frame = bytes.fromhex("feff00e000000000feff00e004000000") + b"\x03\0\0\0"
    pixels = element(0x7FE00010, "OB", frame, 0xFFFFFFFF) + bytes.fromhex("feffdde000000000")
    async with doors(tmp_path) as at:
        peer = await asyncio.to_thread(Peer, at.port, contexts=((CT, DEFLATED_FRAMES),))
        data_set = plain[: plain.index(b"\xe0\x7f\x10\x00")] + pixels
        answer = await asyncio.to_thread(peer.store, data_set)
        await asyncio.to_thread(peer.close)

    assert answer.Status == 0x0000


async def test_what_is_beyond_a_limit_is_out_of_resources_by_every_door(tmp_path):
    long = b"".join(element(0x00290000 + at, "LO", bytes(60)) for at in range(0x1000, 0x5000))
    plain = a_data_set()
    at_pixels = plain.index(b"\xe0\x7f\x10\x00")
    async with doors(tmp_path, max_header_bytes=1024**2) as at:
        verdicts = await told(at, plain[:at_pixels] + long + plain[at_pixels:], "2.25.13", EXPLICIT_LE)

    assert verdicts == {(0xA700, True)}
