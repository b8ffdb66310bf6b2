"""A source that fronts an archive by DIMSE over TLS: with the certificates of both sides, and with no other
archive than the one that is meant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imaging_source.settings.archives import Retrieval
from imaging_source.transactions import rad69
from shared.perform import perform
from shared.security.peer_certificate import fingerprint_of
from tests.support.certificates import communities, stranger
from tests.support.databases import DatabasePlace
from tests.support.dicom import a_ct
from tests.support.imaging_source import Source, close_source, open_source
from tests.transactions.imaging_source.test_rad69 import RADIOLOGIST, Ref, a_request
from xdsi.certificates import Community, create_node
from xdsi.checks import archives as checks
from xdsi.stage import free_ports

pytestmark = pytest.mark.peer

NORTH, SOUTH = communities()
OURS, THEIRS = fingerprint_of(NORTH.node.certificate), fingerprint_of(SOUTH.node.certificate)
IMAGES = ["2.25.13", "2.25.14"]


@asynccontextmanager
async def opened(
    folder: Path, community: Community, others: Community, **changes: Any
) -> AsyncIterator[Source]:
    place = DatabasePlace(url=None, folder=folder / "database", name="imaging_source")
    trust = {
        name: value for name, value in community.settings(others).items() if name in ("tls", "assertion")
    }
    source = await open_source(place, folder / "data", **trust, **changes)
    await source.service.dimse.start()
    try:
        yield source
    finally:
        await source.service.dimse.stop()
        await close_source(source)


@asynccontextmanager
async def an_archive(folder: Path, community: Community, front_port: int) -> AsyncIterator[int]:
    """A source of another community, which holds images and gives them to ours; its port."""
    table = {
        "FRONT": {
            "host": "127.0.0.1",
            "port": front_port,
            "certificate": OURS,
            "services": ["find", "get", "move"],
            "destinations": ["FRONT"],
        }
    }
    async with opened(folder, community, NORTH, ae_title="ARCHIVE", application_entities=table) as source:
        await source.keep(*(a_ct(SOPInstanceUID=uid) for uid in IMAGES))
        yield source.service.dimse.port


@asynccontextmanager
async def a_front(
    folder: Path, port: int, own_port: int, retrieve: str, **named: str
) -> AsyncIterator[Source]:
    entity = {"host": "127.0.0.1", "port": port, "services": ["store"], **named}
    async with opened(
        folder,
        NORTH,
        SOUTH,
        ae_title="FRONT",
        dimse_port=own_port,
        archives={"theirs": {"ae_title": "ARCHIVE", "retrieve": retrieve}},
        application_entities={"ARCHIVE": entity},
    ) as front:
        yield front


async def retrieved(front: Source) -> list[str]:
    """The images that our own consumer is given."""
    request = a_request(*(Ref(sop=uid) for uid in IMAGES), syntaxes=("1.2.840.10008.1.2.1",))
    answer = await perform(rad69.SERVED, front.service.unit, request, RADIOLOGIST, front.recorder)
    return [one.document_unique_id for one in answer.documents]


async def told(front: Source) -> str:
    """What `xdsi doctor` says of the archive."""
    [finding] = await checks.archives(front.parts.settings)
    return finding.found


@pytest.mark.parametrize("retrieve", list(Retrieval))
async def test_images_come_from_the_archive_whose_certificate_is_named(tmp_path, retrieve):
    [own_port] = free_ports(1)
    async with (
        an_archive(tmp_path / "archive", SOUTH, own_port) as port,
        a_front(tmp_path / "front", port, own_port, retrieve, certificate=THEIRS) as front,
    ):
        assert await retrieved(front) == IMAGES
        assert await told(front) == "answers queries"


async def test_an_archive_without_a_named_certificate_is_known_by_the_name_of_its_host(tmp_path):
    async with (
        an_archive(tmp_path / "archive", SOUTH, 1) as port,
        a_front(tmp_path / "front", port, 0, "get") as front,
    ):
        assert await retrieved(front) == IMAGES


@pytest.mark.parametrize(
    ("community", "named", "reason"),
    [
        (SOUTH, {"certificate": OURS}, "shows another certificate than the table names"),
        (stranger, {}, "is not believed"),
        (stranger, {"certificate": THEIRS}, "is not believed"),
    ],
    ids=["another certificate", "an authority that nobody trusts", "a stranger who is not the one named"],
)
async def test_nobody_else_is_asked_and_the_reason_is_told(tmp_path, community, named, reason):
    shown = community if isinstance(community, Community) else community()
    async with (
        an_archive(tmp_path / "archive", shown, 1) as port,
        a_front(tmp_path / "front", port, 0, "get", **named) as front,
    ):
        state = await told(front)
        assert await retrieved(front) == []

    assert reason in state


async def test_an_archive_whose_certificate_names_another_host_is_not_asked(tmp_path):
    node = create_node(tmp_path, "South elsewhere", authority=SOUTH.authority, hosts=["pacs.example.org"])
    elsewhere = replace(SOUTH, node=node)
    async with (
        an_archive(tmp_path / "archive", elsewhere, 1) as port,
        a_front(tmp_path / "front", port, 0, "get") as front,
    ):
        state = await told(front)
        assert await retrieved(front) == []

    assert "is not believed" in state
    assert "127.0.0.1" in state


async def test_an_archive_that_does_not_take_our_certificate_is_told_as_that(tmp_path):
    outsider = replace(stranger(), trust=NORTH.trust)
    async with (
        an_archive(tmp_path / "archive", SOUTH, 1) as port,
        opened(
            tmp_path / "front",
            outsider,
            SOUTH,
            ae_title="FRONT",
            archives={"theirs": {"ae_title": "ARCHIVE"}},
            application_entities={"ARCHIVE": {"host": "127.0.0.1", "port": port, "certificate": THEIRS}},
        ) as front,
    ):
        state = await told(front)
        assert await retrieved(front) == []

    assert "the certificate of this node" in state
