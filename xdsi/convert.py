"""`xdsi convert`: a MADO manifest in its other encoding."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import pydicom
import typer
from pydicom.errors import InvalidDicomError

from imaging_source.domain.described_manifest import DescribedManifest, NotDescribed, of_data_set
from imaging_source.domain.mado_bundle import bundle, of_bundle
from imaging_source.domain.manifest import NothingToShare, encode
from shared.attempts import attempted
from shared.dicom.kos import MAX_BYTES
from xdsi.failures import Failed

_BRACE = b"{"


def command(
    manifest: Annotated[Path, typer.Argument(help="A manifest, as DICOM or as JSON.", exists=True)],
    output: Annotated[
        Path | None, typer.Option(help="Where it is written; to standard output without.")
    ] = None,
    ae_title: Annotated[
        str, typer.Option(help="Retrieve AE Title of a document that is made of a Bundle.")
    ] = "XDSI",
) -> None:
    """Write a Manifest with Description (MADO) in its other encoding: a Key Object Selection Document as a
    FHIR document Bundle, a Bundle as a Key Object Selection Document.

    Example: [bold]xdsi convert manifest.dcm --output manifest.json[/bold]
    """
    if manifest.stat().st_size > MAX_BYTES:
        raise Failed(f"{manifest}: a manifest has at most {MAX_BYTES} bytes")
    octets = manifest.read_bytes()
    is_json = octets.lstrip().startswith(_BRACE)
    try:
        described = _of_json(octets, ae_title) if is_json else _of_dicom(manifest)
        converted = encode(described.data_set()) if is_json else _json(described)
    except (NotDescribed, NothingToShare) as error:
        raise Failed(f"{manifest}: {error}") from None
    if output is not None:
        output.write_bytes(converted)
    else:
        sys.stdout.buffer.write(converted)


def _of_json(octets: bytes, ae_title: str) -> DescribedManifest:
    try:
        root = json.loads(octets)
    except (ValueError, RecursionError):
        raise NotDescribed("it is no JSON") from None
    return of_bundle(root, ae_title=ae_title)


def _of_dicom(path: Path) -> DescribedManifest:
    try:
        data_set = pydicom.dcmread(path)
    except (InvalidDicomError, OSError):
        raise NotDescribed("it is no DICOM file, and no JSON") from None
    # pydicom reads values when they are asked for, with no exception of its own for what is malformed.
    described = attempted(lambda: of_data_set(data_set))
    if isinstance(described, NotDescribed):
        raise described
    if isinstance(described, Exception):
        raise NotDescribed("something of it cannot be read, or is missing")
    return described


def _json(described: DescribedManifest) -> bytes:
    return json.dumps(bundle(described), ensure_ascii=False, indent=2).encode()
