"""`xdsi audit export`: the records of a patient, a study or a time, to be taken along and verified there."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer

from audit_repository.domain.exported import Exported, key_in, verified
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.signing import SigningKeyError, Verifier
from shared.http.client import EgressRefused, http_client
from xdsi.audit_client import Since, Until, Url, base_of, complete, detail, moment
from xdsi.configuration import load
from xdsi.failures import Failed
from xdsi.listing import counted
from xdsi.options import Config

_SECONDS = 3_600.0


def export(
    file: Annotated[Path, typer.Argument(help="Where the lines are written; it must not exist.")],
    patient: Annotated[str, typer.Option(help="Patient id, bare or as CX.")] = "",
    study: Annotated[str, typer.Option(help="Study Instance UID, or the id of another object.")] = "",
    since: Since = "",
    until: Until = "",
    messages: Annotated[
        Path | None, typer.Option(help="Write each message as it came into this new folder, too.")
    ] = None,
    url: Url = "",
    config: Config = None,
) -> None:
    """Take records along: lines of JSON with the signed heads of the trail, verified as they come.

    Looking is itself recorded, with what was asked for. `xdsi audit verify --export FILE` verifies the file
    anywhere.

    Example: [bold]xdsi audit export P0001.ndjson --patient P0001[/bold]
    """
    settings = load(AuditRepositorySettings, config)
    begin, end = moment(since, "--since"), moment(until, "--until")
    criteria = {
        "patient": complete(patient, settings),
        "object": study,
        "since": begin.isoformat() if begin else "",
        "until": end.isoformat() if end else "",
    }
    for place in filter(None, (file, messages)):
        if place.exists():
            raise Failed(f"{place} exists; name another place, so that nothing is overwritten")
    part = file.with_name(f"{file.name}.part")
    try:
        asyncio.run(_fetched(settings, url, {name: value for name, value in criteria.items() if value}, part))
        report = of_file(part, None)
        if not report.problems:
            part.rename(file)
            if messages is not None:
                _unpacked(file, messages)
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}; name a place that can be written") from None
    finally:
        part.unlink(missing_ok=True)
    if report.problems:
        raise Failed("\n".join((*report.problems, "the export is not whole; begin again")))
    typer.echo(f"{counted(report.records, 'record')} in {file}, signed; SHA-256 {_digest(file)}")


async def _fetched(settings: AuditRepositorySettings, url: str, criteria: dict[str, Any], part: Path) -> None:
    at = base_of(settings, url)
    try:
        async with (
            http_client(settings.tls, peers=[at], timeout_seconds=_SECONDS) as http,
            http.stream("POST", f"{at}/api/export", json=criteria) as response,
        ):
            if response.status_code != httpx2.codes.OK:
                await response.aread()
                raise Failed(f"the audit repository refused: {detail(response)}")
            # Patients are in it: for its owner alone.
            part.touch(mode=0o600)
            with await asyncio.to_thread(part.open, "ab") as written:
                async for octets in response.aiter_bytes():
                    await asyncio.to_thread(written.write, octets)
    except (httpx2.HTTPError, EgressRefused, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise Failed(
            f"the audit repository at {at} cannot be reached ({reason}); start it or give --url"
        ) from None


def _unpacked(file: Path, folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True)
    with file.open("rb") as lines:
        for record in (line["record"] for line in map(json.loads, lines) if "record" in line):
            raw = b64decode(record["raw"])
            suffix = "json" if raw.lstrip().startswith(b"{") else "txt"
            (folder / f"{record['sequence']}.{suffix}").write_bytes(raw)


def of_file(file: Path, key: Path | None) -> Exported:
    """Verify an export by a public key, or by the one that it names.

    Raises
    ------
    Failed
        The export, or the key, cannot be read.
    """
    try:
        with file.open("rb") as lines:
            pem, place = (
                (key.read_bytes(), str(key)) if key else (key_in(lines.readline()), f"the key in {file}")
            )
        with file.open("rb") as lines:
            return verified(lines, Verifier(pem, place))
    except OSError as error:
        raise Failed(f"{error.filename}: {error.strerror}") from None
    except SigningKeyError as error:
        raise Failed(str(error)) from None


def problems_told(file: Path, key: Path | None) -> Iterator[str]:
    """Tell how an export is; what is wrong with it."""
    report = of_file(file, key)
    if not report.problems:
        by = f"by the key of {key}" if key else "by the key that it names itself; compare it, or give --key"
        typer.echo(f"the export is whole: {counted(report.records, 'record')}, signed {by}")
    yield from report.problems


def _digest(file: Path) -> str:
    with file.open("rb") as octets:
        digest = sha256()
        while piece := octets.read(1024**2):
            digest.update(piece)
    return digest.hexdigest()
