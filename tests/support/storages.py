"""Storages of an imaging source: every test that asks for `storage` runs on files and on objects."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import obstore
import pytest

from imaging_source.store.contents import FOLDER
from shared.settings import S3Settings
from shared.store.objects import Objects
from tests.support.object_stores import moto


@dataclass(frozen=True)
class Storage:
    """Where instances are kept, and what may happen to them there; `access` is None for files."""

    url: str
    access: S3Settings | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What an imaging source is told of it."""
        if self.access is None:
            return {"storage_url": self.url}
        return {"storage_url": self.url, "s3": self.access.model_dump(exclude_none=True)}

    def kept(self) -> dict[str, bytes]:
        """The bytes of everything that is kept, by path or key."""
        if self.access is None:
            return {str(path): path.read_bytes() for path in sorted(self._folder.glob("??/*.dcm"))}
        store = self._store
        keys = sorted(one["path"] for page in obstore.list(store) for one in page)
        return {key: bytes(obstore.get(store, key).bytes()) for key in keys}

    def put(self, name: str, octets: bytes) -> None:
        """Let `octets` stand at a path or key of `kept`."""
        if self.access is None:
            Path(name).write_bytes(octets)
        else:
            obstore.put(self._store, name, octets)

    def lose(self, name: str) -> None:
        """Remove what stands at a path or key."""
        if self.access is None:
            Path(name).unlink()
        else:
            obstore.delete(self._store, name)

    def flip(self, name: str) -> None:
        """Let one bit of the content be another."""
        octets = bytearray(self.kept()[name])
        octets[random.randrange(len(octets))] ^= 1 << random.randrange(8)
        self.put(name, bytes(octets))

    def cut(self, name: str) -> None:
        """Let the end be lost."""
        self.put(name, self.kept()[name][:-7])

    @property
    def _folder(self) -> Path:
        return Path(self.url.removeprefix("file://")) / FOLDER

    @property
    def _store(self) -> Any:
        assert self.access is not None
        return Objects(self.url, self.access, below=FOLDER)._store


@dataclass
class Storages:
    """Makes fresh storages of both kinds."""

    folder: Path
    access: S3Settings
    bucket: str = "test"
    number: int = field(default=0)

    def files(self) -> Storage:
        """A folder."""
        self.number += 1
        return Storage((self.folder / f"storage-{self.number}").as_uri())

    def objects(self, access: S3Settings | None = None) -> Storage:
        """A prefix of a bucket, reached as `access` says."""
        return Storage(f"s3://{self.bucket}/{uuid4().hex}/below", access or self.access)


@pytest.fixture(scope="session")
def object_access() -> Iterator[S3Settings]:
    """An S3-compatible store on loopback."""
    with moto() as server:
        yield server.settings


@pytest.fixture
def storages(object_access: S3Settings, tmp_path: Path) -> Storages:
    """Both kinds."""
    return Storages(tmp_path, object_access)


@pytest.fixture(params=["files", "objects"])
def storage(request: pytest.FixtureRequest, storages: Storages) -> Storage:
    """A fresh storage of each kind."""
    made: Storage = getattr(storages, request.param)()
    return made
