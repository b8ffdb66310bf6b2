"""How a consumer is made to act: by the interface of this product, by a command, or by a person."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from conformance.plans.probe import NotOffered
from conformance.plans.stand import Stand
from conformance.simulators.world import MANIFEST, REPOSITORY, World

_COMMAND: Final = "exec:"
_PERSON: Final = "person"
_SECONDS: Final = 60.0


class Driver(Protocol):
    """Makes a consumer act for one patient."""

    def find(self, world: World) -> bool:
        """Look for the patient's studies; whether the consumer told that it found the one that there is."""
        ...

    def fetch(self, world: World) -> list[bytes]:
        """Fetch the images of the study; those that the consumer gave for good."""
        ...


def driver(stand: Stand, assertion: Callable[[], str]) -> Driver:
    """How the consumer that is judged is made to act.

    `--target consumer=` names the base URL of this product's consumer, `exec:` and a command that is called
    with `find PATIENT` or `fetch PATIENT UNIQUE-ID REPOSITORY FOLDER`, or `person`.
    """
    consumer = stand.endpoint("consumer")
    if consumer.startswith(("http://", "https://")):
        return ProgramDriver(stand, consumer.rstrip("/"), assertion)
    if consumer.startswith(_COMMAND):
        return CommandDriver(tuple(shlex.split(consumer.removeprefix(_COMMAND))))
    if consumer == _PERSON:
        return PersonDriver(stand.target.person or _answered)
    raise NotOffered(f"a consumer is a URL, exec:COMMAND or person, and not {consumer}")


@dataclass(frozen=True, slots=True)
class ProgramDriver:
    """The interface for programs of this product's consumer."""

    stand: Stand
    base: str
    assertion: Callable[[], str]

    def find(self, world: World) -> bool:
        """POST /api/studies."""
        reply = self._post("/api/studies", {"patient_id": world.patient_id})
        studies = json.loads(reply)["studies"] if reply else []
        return MANIFEST in [one["document_unique_id"] for one in studies]

    def fetch(self, world: World) -> list[bytes]:
        """POST /api/manifests, and GET of each instance."""
        manifest = {"document_unique_id": MANIFEST, "repository_unique_id": REPOSITORY}
        reply = self._post("/api/manifests", manifest)
        if not reply:
            return []
        hrefs = [one["href"] for series in json.loads(reply)["series"] for one in series["instances"]]
        answers = [self.stand.http("GET", self.base + href, headers=self._headers()) for href in hrefs]
        return [answer.content for answer in answers if answer.status == 200]

    def _post(self, path: str, body: dict[str, str]) -> bytes:
        headers = {"Content-Type": "application/json", **self._headers()}
        reply = self.stand.http("POST", self.base + path, body=json.dumps(body).encode(), headers=headers)
        return reply.content if reply.status == 200 else b""

    def _headers(self) -> dict[str, str]:
        assertion = self.assertion()
        encoded = b64encode(assertion.encode()).decode()
        return {"Authorization": f"SAML {encoded}"} if assertion else {}


@dataclass(frozen=True, slots=True)
class CommandDriver:
    """A command; its status says whether it succeeded, and its images are the files in the folder."""

    command: tuple[str, ...]

    def find(self, world: World) -> bool:
        """COMMAND find PATIENT."""
        return self._run("find", world.patient_id)

    def fetch(self, world: World) -> list[bytes]:
        """COMMAND fetch PATIENT UNIQUE-ID REPOSITORY FOLDER."""
        with tempfile.TemporaryDirectory() as folder:
            if not self._run("fetch", world.patient_id, MANIFEST, REPOSITORY, folder):
                return []
            return [path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()]

    def _run(self, *arguments: str) -> bool:
        try:
            ran = subprocess.run(  # noqa: S603 - the command that its user named
                (*self.command, *arguments), timeout=_SECONDS, check=False, stdout=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            return False
        return ran.returncode == 0


@dataclass(frozen=True, slots=True)
class PersonDriver:
    """A person at the consumer, who is told what to do, and says what came of it."""

    ask: Callable[[str], bool]

    def find(self, world: World) -> bool:
        """Ask whether the study was found."""
        return self.ask(f"Look for the studies of {world.patient_id}. Is one of three images found?")

    def fetch(self, world: World) -> list[bytes]:
        """Ask whether the images are shown."""
        shown = self.ask(f"Open the study of {world.patient_id}. Are its three images shown?")
        return [image.octets for image in world.images.values()] if shown else []


def _answered(question: str) -> bool:
    sys.stderr.write(f"{question} [y/n] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower().startswith("y")
