"""The validator takes long captures in little memory, and whatever bytes there are gives a report."""

from __future__ import annotations

import resource
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.corpus import messages, metadata
from conformance.validation import judge
from tests.unit.conformance.corpus import CORPUS

pytestmark = [pytest.mark.heavy]

MEGABYTE = 1024**2
#: What a validator may take beyond that of a small file, whatever the length of what it reads.
MOST_MORE = 40 * MEGABYTE

ANSWER = messages.envelope(
    "urn:ihe:iti:2007:RetrieveDocumentSetResponse",
    messages.retrieved("", "2.25.1001"),
    relates_to=messages.MESSAGE_ID,
)
INCLUDE = '<i:Include xmlns:i="http://www.w3.org/2004/08/xop/include" href="cid:2.25.1001@x"/>'


def attached(path: Path, size: int) -> None:
    """A document of `size` bytes as a part of its own."""
    package = messages.package("HTTP/1.1 200 OK", ANSWER, {"2.25.1001@x": b"@@"}).encode("latin_1")
    _around(path, package, size, lambda length: bytes(length))


def inline(path: Path, size: int) -> None:
    """A document of `size` characters within the message."""
    _around(
        path, ANSWER.replace(INCLUDE, "@@").encode(), size, lambda length: b64encode(bytes(length // 4 * 3))
    )


def found(path: Path, size: int) -> None:
    """Entries of `size` bytes in an answer."""
    xml = messages.envelope(
        "urn:ihe:iti:2007:RegistryStoredQueryResponse",
        messages.found("@@"),
        relates_to=messages.MESSAGE_ID,
    )
    entry = metadata.entry().encode()
    _around(path, xml.encode(), size, lambda length: entry * max(1, length // len(entry)))


def _around(path: Path, frame: bytes, size: int, piece: Callable[[int], bytes]) -> None:
    before, _, after = frame.partition(b"@@")
    with path.open("wb") as file:
        file.write(before)
        while file.tell() < size:
            file.write(piece(min(MEGABYTE, size)))
        file.write(after)


PEAK = """
import resource, sys
from pathlib import Path
from conformance.validation import validate
report = validate(Path(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, report.title)
"""


def peak(path: Path) -> int:
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True, timeout=280
    )
    octets, title = ran.stdout.split(" ", 1)
    assert title.startswith("ITI-")
    return int(octets)


@pytest.mark.parametrize("write", [attached, inline, found])
def test_a_long_capture_takes_no_more_memory_than_a_short_one(write, tmp_path: Path, long: bool):
    sizes = {attached: 100, inline: 100, found: 100 if long else 10}
    write(tmp_path / "short", MEGABYTE // 4)
    write(tmp_path / "long", sizes[write] * MEGABYTE)

    assert peak(tmp_path / "long") < peak(tmp_path / "short") + MOST_MORE


def test_whatever_was_done_to_an_example_gives_a_report(long: bool):
    @settings(max_examples=20_000 if long else 300, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(CORPUS), st.lists(st.tuples(st.integers(0), st.binary(max_size=40)), max_size=12))
    def broken(example, changes):
        octets = bytearray(example.octets)
        for position, replacement in changes:
            at = position % (len(octets) + 1)
            octets[at : at + len(replacement) // 2] = replacement
        report = judge(bytes(octets), "x")
        assert "FILE-002" not in {finding.id for finding in report.findings}, report.findings

    broken()


@pytest.mark.parametrize(
    "text", ["<" * 20_000, "<a>" * 20_000, "[" * 100_000, '{"resourceType":' * 20_000, "MSH|" * 50_000]
)
def test_what_is_nested_without_end_gives_a_report(text: str):
    for head in (
        "",
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope">',
        '{"resourceType": "Bundle", "entry": ',
    ):
        report = judge((head + text).encode(), "x")
        assert report.findings
        assert "FILE-002" not in {finding.id for finding in report.findings}


def test_memory_is_measured_in_bytes():
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > MEGABYTE
