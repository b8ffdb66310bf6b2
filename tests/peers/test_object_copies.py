"""`xdsi db save-objects` and `load-objects`: an object store copied into a folder, and into a store again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import S3Store
from typer.testing import CliRunner

from repository.store.encoding import Encoding
from repository.store.objects import ObjectBlobs
from tests.support.object_stores import ObjectStore, moto, reset
from xdsi.cli import build

pytestmark = pytest.mark.peer

PLAIN, COMPRESSED = os.urandom(3_000), b"<a>" + b"compressible " * 5_000 + b"</a>"


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with moto() as running:
        yield running
        reset(running)


def at(store: ObjectStore, prefix: str) -> S3Store:
    settings = store.settings
    return S3Store(
        store.bucket,
        prefix=prefix,
        config={
            "endpoint": settings.endpoint,
            "region": settings.region,
            "access_key_id": settings.access_key,
            "secret_access_key": settings.secret_key,
        },
        client_options={"allow_http": True},
    )


def contents(store: S3Store) -> dict[str, bytes]:
    keys = [one["path"] for page in obstore.list(store) for one in page]
    return {key: bytes(obstore.get(store, key).bytes()) for key in keys}


def run(store: ObjectStore, prefix: str, command: str, folder: Path) -> tuple[int, dict[str, Any]]:
    """The exit status of a command, and what it said of the repository."""
    environment = {
        "XDSI_DATA": str(folder.parent / "data"),
        "XDSI_REPOSITORY__STORAGE_URL": f"s3://{store.bucket}/{prefix}",
        **{
            f"XDSI_S3__{name.upper()}": str(value)
            for name, value in store.settings.model_dump(exclude_none=True).items()
        },
    }
    done = CliRunner(env=environment).invoke(build("db"), ["db", command, str(folder), "--json"])
    return done.exit_code, json.loads(done.stdout.splitlines()[0])["repository"]


def filled(store: ObjectStore, prefix: str, folder: Path) -> None:
    """A store with two documents, one of them encoded."""

    async def fill() -> None:
        url = f"s3://{store.bucket}/{prefix}"
        for octets, encoding in ((PLAIN, Encoding()), (COMPRESSED, Encoding(compress=True))):
            blobs = ObjectBlobs(url, store.settings, folder, encoding)
            await blobs.keep(await blobs.spool(octets), mime_type="application/xml")

    asyncio.run(fill())


def test_a_store_is_copied_to_a_folder_and_into_an_empty_one_without_copying_twice(
    store: ObjectStore, tmp_path: Path
):
    filled(store, "old", tmp_path / "spool")
    old, folder = contents(at(store, "old")), tmp_path / "objects"
    assert len({key for key in old if key.endswith(".x")}) == 1

    status, first = run(store, "old", "save-objects", folder)
    assert (status, first["copied"], first["present"], first["damaged"]) == (0, 2, 0, [])
    status, again = run(store, "old", "save-objects", folder)
    assert (status, again["copied"], again["present"]) == (0, 0, 2)

    status, loaded = run(store, "new", "load-objects", folder)
    assert (status, loaded["copied"], loaded["damaged"]) == (0, 2, [])
    assert contents(at(store, "new")) == old
    status, again = run(store, "new", "load-objects", folder)
    assert (status, again["copied"], again["present"]) == (0, 0, 2)


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "encoded"])
def test_what_is_damaged_is_told_and_goes_nowhere(store: ObjectStore, tmp_path: Path, encoded: bool):
    filled(store, "old", tmp_path / "spool")
    sha256 = hashlib.sha256(COMPRESSED if encoded else PLAIN).hexdigest()
    [key] = [key for key in contents(at(store, "old")) if sha256 in key]
    octets = contents(at(store, "old"))[key]
    obstore.put(at(store, "old"), key, octets[:-1] + bytes([octets[-1] ^ 1]))

    status, saved = run(store, "old", "save-objects", tmp_path / "objects")
    assert (status, saved["copied"], saved["damaged"]) == (1, 1, [sha256])
    assert not [path for path in (tmp_path / "objects").rglob("*") if path.is_file() and sha256 in str(path)]

    obstore.put(at(store, "old"), key, octets)
    assert run(store, "old", "save-objects", tmp_path / "objects")[0] == 0
    file = tmp_path / "objects" / "repository" / key
    file.write_bytes(octets[:-1] + bytes([octets[-1] ^ 1]))
    status, loaded = run(store, "new", "load-objects", tmp_path / "objects")
    assert (status, loaded["copied"], loaded["damaged"]) == (1, 1, [sha256])
    assert key not in contents(at(store, "new"))
