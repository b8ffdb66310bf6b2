"""XOP packages: whatever valid way one is written, the same documents; what goes out comes back."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.faults import SenderFault
from shared.http.media_type import decode_media_type
from shared.http.raw_asgi import BodyTooLarge, FileRange
from shared.soap.folding import MOST_BYTES
from shared.soap.inline import InlineScanner, extract
from shared.soap.mtom import Attachment, Received, include, resolve
from shared.soap.package import Package, SoapLimits, read_package, write_package
from shared.soap.spooling import Sink, sweep
from shared.xml import PRESCAN_BYTES, XmlError, parse
from tests.support.soap_exchange import MTOM, XDS, a_keep, a_package, a_part, a_root

CUTS = st.lists(st.integers(0, 100_000), max_size=8)
CONTENTS = st.lists(
    st.one_of(st.binary(max_size=200), st.sampled_from([b"", b"\r\n", b"\r\n--", b"\n\r", b"--\r\n"])),
    max_size=5,
)


async def chunked(message: bytes, cuts: Sequence[int] = ()) -> AsyncIterator[bytes]:
    edges = [0, *sorted(cut % (len(message) + 1) for cut in cuts), len(message)]
    for begin, end in pairwise(edges):
        yield message[begin:end]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


async def read(
    message: bytes, folder: Path, *, cuts: Sequence[int] = (), header: str = MTOM, **limits: int
) -> Package:
    package = Package()
    try:
        await read_package(
            package,
            chunked(message, cuts),
            decode_media_type(header),
            folder=folder,
            limits=SoapLimits(**limits),
        )
    except BaseException:
        package.discard()
        raise
    return package


async def documents(message: bytes, folder: Path, **how: object) -> list[bytes | None]:
    """The documents of a message as the decoder of a transaction would find them, and nothing left behind."""
    package = await read(message, folder, **how)  # type: ignore[arg-type]
    try:
        root = parse(package.xml)
        package.attachments.update(extract(root, folder))
        found = [resolve(one, package.attachments) for one in root.iter(f"{{{XDS}}}Document")]
        return [None if one is None else checked(one) for one in found]
    finally:
        package.discard()
        assert not list(folder.iterdir())


def checked(received: Received) -> bytes:
    content = received.path.read_bytes()
    assert received.size == len(content)
    assert received.sha1 == hashlib.sha1(content).hexdigest()
    assert received.sha256 == hashlib.sha256(content).hexdigest()
    return content


# --- laws --------------------------------------------------------------------------------------------


@given(CONTENTS, CUTS)
async def test_what_is_written_is_read_again(folder, contents, cuts):
    stored = folder.parent / "stored"
    stored.write_bytes(b"before" + b"".join(contents) + b"after")
    offset, attachments = len(b"before"), []
    for number, content in enumerate(contents):
        in_file = FileRange(stored, offset, len(content)) if number % 2 else content
        attachments.append(Attachment(f"d+{number}%", in_file))
        offset += len(content)
    envelope = a_keep(*(include(one.content_id) for one in attachments))

    header, pieces = write_package(envelope, attachments, action="urn:keep:Keep")
    message = b"".join(map(octets, pieces))

    assert await documents(message, folder, cuts=cuts, header=header) == contents


def octets(piece: bytes | FileRange) -> bytes:
    if isinstance(piece, bytes):
        return piece
    return piece.path.read_bytes()[piece.offset : piece.offset + piece.length]


@st.composite
def ways_of_writing(draw: st.DrawFn) -> tuple[list[bytes], bytes, str]:
    """Documents, one valid way to write a message of them, and its Content-Type."""
    contents = draw(st.lists(st.binary(max_size=120), min_size=1, max_size=4))
    insides, parts = [], []
    for number, content in enumerate(contents):
        if draw(st.booleans()):
            insides.append(draw(inline_texts(content)))
            continue
        content_id = f"{number}@{draw(st.sampled_from(['x', 'a_b', '(1)+', '%41', 'a=b']))}"
        href = draw(st.sampled_from([quote(content_id), quote(content_id, safe="@()+")]))
        insides.append(f'<i:Include xmlns:i="http://www.w3.org/2004/08/xop/include" href="cid:{href}"/>')
        headers = [
            f"{draw(st.sampled_from(['Content-ID', 'content-id']))}: <{content_id}>",
            "Content-Type: a/b",
        ]
        if draw(st.booleans()):
            parts.append(a_part(base64.encodebytes(content), *headers, "Content-Transfer-Encoding: base64"))
        else:
            parts.append(a_part(content, *headers, "Content-Transfer-Encoding: binary"))
    parts += [a_part(b"nobody asks for this", "Content-ID: <unreferenced>")] * draw(st.integers(0, 1))
    root, first = a_root(a_keep(*insides)), draw(st.booleans())
    start = draw(st.sampled_from(['start="<root@test>"; ', 'start="root@test"; '] + ['start=""; '] * first))
    message = a_package(*([root, *parts] if first else [*parts, root]))
    return contents, message, f'Multipart/Related; {start}boundary=b1; TYPE="application/xop+xml"'


@st.composite
def inline_texts(draw: st.DrawFn, content: bytes) -> str:
    text = base64.b64encode(content).decode()
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        if "&" not in text[max(0, at - 5) : at]:
            text = text[:at] + draw(st.sampled_from([" ", "\n", "\r\n", "\t", "&#13;", "&#xD;"])) + text[at:]
    return text


@given(ways_of_writing(), CUTS)
async def test_whatever_valid_way_a_message_is_written_the_documents_are_the_same(folder, written, cuts):
    contents, message, header = written
    if any(b"\r\n--b1" in content or content.startswith(b"--b1") for content in contents):
        return

    assert await documents(message, folder, cuts=cuts, header=header) == contents


# --- the XML ------------------------------------------------------------------------------------------


def large(inside: str, *, wrapped: str = "") -> bytes:
    """A message whose XML is scanned while it arrives."""
    return a_keep(inside, "AAEC", headers=f"<a:To>{'x' * PRESCAN_BYTES}</a:To>{wrapped}")


@pytest.mark.parametrize("size", [0, 1, 2, 3, 300_000])
async def test_inline_base64_of_any_size_becomes_a_file(folder, size):
    content = bytes(range(256)) * (size // 256 + 1)
    text = base64.encodebytes(content[:size]).decode().replace("\n", "&#13;\n")

    assert await documents(a_package(a_root(large(text))), folder) == [content[:size], b"\x00\x01\x02"]


async def test_a_large_xml_is_cut_anywhere_with_the_same_result(folder):
    message = large("A A\n&#xD;E\tC", wrapped="<!-- <x:Document>!</x:Document> --><q/>")
    for size in range(1, 40):
        attachments: dict[str, Received] = {}
        scanner = InlineScanner(folder, attachments)
        scanner.feed(message[: PRESCAN_BYTES + 200])
        tail = message[PRESCAN_BYTES + 200 :]
        for at in range(0, len(tail), size):
            scanner.feed(tail[at : at + size])
        root = parse(scanner.close())

        assert [checked(one) for one in attachments.values()] == [b"\x00\x01\x02"] * 2
        assert all(resolve(one, attachments) for one in root.iter(f"{{{XDS}}}Document"))
        Package(attachments=attachments).discard()


async def test_memory_of_inline_documents_is_bounded_by_the_xml_without_them(folder):
    text = base64.b64encode(bytes(3_000_000)).decode()

    package = await read(a_package(a_root(a_keep(text))), folder, xml_bytes=2_000)

    assert len(package.xml) < 2_000
    assert [checked(one) for one in package.attachments.values()] == [bytes(3_000_000)]
    package.discard()


@pytest.mark.parametrize(
    ("inside", "says"),
    [
        ("AAE", "multiple of four"),
        ("AAE!", "not base64"),
        ("ÄÄÄÄ", "not base64"),
        ("AA==AAAA", "padding|not base64"),
        ("AAEC<other/>", "text"),
        ("AAEC" + include("d@x"), "text"),
        ("AAEC<!-- and -->AAEC", "text"),
        ("AAEC&amp;AAA", "not base64"),
    ],
)
async def test_a_document_that_is_not_one_text_is_the_senders_fault(folder, inside, says):
    with pytest.raises(SenderFault, match=says):
        await documents(a_package(a_root(large(inside))), folder)
    if "<!--" not in inside:  # a comment in a small text is no harm: the text is all there
        with pytest.raises(SenderFault, match=says):
            await documents(a_package(a_root(a_keep(inside))), folder)


@pytest.mark.parametrize(
    ("beginning", "says"),
    [
        ("<!DOCTYPE x>", "document type"),
        ("<a>" * 101, "deeper than 100"),
        ("<a " + " ".join(f'b{n}=""' for n in range(65)) + ">", "64 attributes"),
        ("<a " + " ".join(f'xmlns:b{n}="u"' for n in range(33)) + ">", "32 namespaces"),
        ("<a>" + "<b/>" * 1_000_001, "1000000 elements"),
        ("<a></b>", "well-formed"),
        ("<u:a>", "well-formed"),
        ('<?xml version="1.0" encoding="ISO-8859-1"?><a>', "UTF-8"),
        ("<a", "start tag|well-formed"),
    ],
)
async def test_a_large_xml_is_refused_as_soon_as_it_breaks_a_limit(folder, beginning, says):
    message = a_package(a_root(beginning.encode() + b" " * PRESCAN_BYTES + b"\x01"))

    with pytest.raises((XmlError, SenderFault), match=says):
        await read(message, folder, cuts=range(0, 9_000_000, 65_536))


@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("<b>" * 101, "100 levels"),
        ("<b " + " ".join(f"c{n}='1'" for n in range(65)) + "/>", "64 attributes"),
        ("</c>", "well-formed XML: line 3, column 2"),
        ("", "well-formed"),
    ],
)
async def test_a_large_request_is_refused_though_its_references_are_folded(folder, end, says):
    reference = (
        "<DocumentRequest><RepositoryUniqueId>1.2</RepositoryUniqueId>"
        "<DocumentUniqueId>1.2.{}</DocumentUniqueId></DocumentRequest>"
    )
    references = "".join(map(reference.format, range(3_000)))
    assert PRESCAN_BYTES < len(references) < MOST_BYTES

    whole = a_package(a_root(f"<a>\n{references}\n</a>".encode()))
    assert references.encode() in (await read(whole, folder, cuts=range(0, 400_000, 65_536))).xml
    with pytest.raises(XmlError, match=says):
        await read(a_package(a_root(f"<a>\n{references}\n{end}".encode())), folder)


async def test_a_tag_that_does_not_end_is_refused(folder):
    message = a_package(a_root(a_keep("x").replace(b"<x:Document>", b"<x:Document " + b" " * 400_000)))

    with pytest.raises(XmlError, match="start tag"):
        await read(message, folder, cuts=range(0, 400_000, 50_000))


# --- parts --------------------------------------------------------------------------------------------


async def test_a_missing_part_is_none_and_no_fault(folder):
    message = a_package(
        a_root(a_keep(include("not there"), include("d@x"))), a_part(b"1", "Content-ID: <d@x>")
    )

    assert await documents(message, folder) == [None, b"1"]


async def test_white_space_around_a_reference_is_read_over(folder):
    message = a_package(
        a_root(a_keep(f"\n {include('d@x')} <!-- c -->\n")), a_part(b"1", "Content-ID: <d@x>")
    )

    assert await documents(message, folder) == [b"1"]


async def test_two_documents_may_name_the_same_part(folder):
    message = a_package(a_root(a_keep(include("d@x"), include("d@x"))), a_part(b"1", "Content-ID: <d@x>"))

    assert await documents(message, folder) == [b"1", b"1"]


async def test_a_root_without_content_id_is_known_by_its_type(folder):
    root = a_part(a_keep("AAEC"), "Content-Type: application/xop+xml")

    assert await documents(a_package(root), folder) == [b"\x00\x01\x02"]


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([a_part(b"1", "Content-ID: <a@x>"), a_part(b"2", "Content-ID: <b@x>")], "root@test"),
        ([a_root(a_keep())] + [a_part(b"1", "Content-ID: <a@x>")] * 2, "two parts"),
    ],
)
async def test_parts_that_do_not_make_a_message_are_the_senders_fault(folder, parts, says):
    with pytest.raises(SenderFault, match=says):
        await read(a_package(*parts), folder)
    assert not list(folder.iterdir())


async def test_soap_with_attachments_is_not_mtom(folder):
    with pytest.raises(SenderFault, match="MTOM"):
        await read(b"", folder, header='multipart/related; type="text/xml"; boundary=b1')


@pytest.mark.parametrize(
    ("inside", "says"),
    [
        ('<x:Include xmlns:x="http://www.w3.org/2004/08/xop/include" href="http://e/"/>', "cid:"),
        ('<x:Include xmlns:x="http://www.w3.org/2004/08/xop/include"/>', "cid:"),
        (include("d@x") * 2, "exactly one"),
        ("<other/>", "exactly one"),
    ],
)
async def test_a_reference_that_is_none_is_the_senders_fault(folder, inside, says):
    with pytest.raises(SenderFault, match=says):
        await documents(a_package(a_root(a_keep(inside))), folder)


async def test_the_limits_hold_at_the_byte_and_leave_nothing_behind(folder):
    message = a_package(a_root(a_keep(include("d@x"))), a_part(b"12345", "Content-ID: <d@x>"))
    inline = a_package(a_root(large(base64.b64encode(bytes(600_000)).decode())))

    (await read(message, folder, message_bytes=len(message), document_bytes=5, parts=1)).discard()
    for limits in ({"message_bytes": len(message) - 1}, {"document_bytes": 4}):
        with pytest.raises(BodyTooLarge):
            await read(message, folder, **limits)
    with pytest.raises(SenderFault, match="more than 1 parts"):
        await read(message, folder, parts=0)
    (await read(inline, folder, document_bytes=600_000)).discard()
    for limits in ({"document_bytes": 599_999}, {"xml_bytes": PRESCAN_BYTES}):
        with pytest.raises(BodyTooLarge):
            await read(inline, folder, **limits)
    assert not list(folder.iterdir())


async def test_a_simple_message_is_limited_with_its_documents(folder):
    header = "application/soap+xml"
    assert (await read(a_keep("x" * 500_000), folder, header=header)).guarded
    with pytest.raises(BodyTooLarge):
        await read(a_keep("x" * 9_000_000), folder, header=header, cuts=range(0, 9_000_000, 100_000))


async def test_a_broken_message_leaves_no_file_behind(folder):
    attachment = a_part(bytes(3_000_000), "Content-ID: <d@x>")
    message = a_package(a_root(a_keep(include("d@x"))), attachment)

    with pytest.raises(SenderFault, match="truncated"):
        await read(message[:2_000_000], folder, cuts=range(0, 2_000_000, 65_536))

    assert not list(folder.iterdir())


async def test_large_documents_are_hashed_in_a_thread(folder, monkeypatch):
    threads, write = set(), Sink.write

    def watched(sink: Sink, octets: bytes) -> None:
        threads.add(threading.current_thread())
        write(sink, octets)

    monkeypatch.setattr(Sink, "write", watched)
    message = a_package(a_root(a_keep(include("d@x"))), a_part(bytes(5_000_000), "Content-ID: <d@x>"))

    assert await documents(message, folder, cuts=range(0, 5_000_000, 65_536)) == [bytes(5_000_000)]
    assert threads
    assert threading.main_thread() not in threads


# --- writing ------------------------------------------------------------------------------------------


def test_a_package_stays_a_package_without_attachments():
    header, pieces = write_package(b"<x/>", ())
    media_type = decode_media_type(header)

    assert media_type.name == "multipart/related"
    assert media_type.parameter("type") == "application/xop+xml"
    assert media_type.parameter("start-info") == "application/soap+xml"
    assert media_type.parameter("start").startswith("<")
    assert b"".join(map(octets, pieces)).count(b"--" + media_type.parameter("boundary").encode()) == 2


def test_a_foreign_type_cannot_end_a_header_line():
    _, pieces = write_package(b"<x/>", (Attachment("d@x", b"", "text/plain\r\nX-Evil: 1"),))

    assert b"X-Evil" not in b"".join(map(octets, pieces))


@pytest.mark.parametrize("content_id", ["", "a b", "a>b", "a\r\nb", "ä"])
def test_a_content_id_that_cannot_stand_in_a_header_is_a_mistake(content_id):
    with pytest.raises(ValueError, match="Content-ID"):
        write_package(b"<x/>", (Attachment(content_id, b""),))


def test_files_are_sent_as_ranges_and_never_read(tmp_path):
    received = Received(tmp_path / "not there", 10, "", "")

    _, pieces = write_package(b"<x/>", (Attachment("d@x", received), Attachment("e@x", received)))

    assert [piece for piece in pieces if isinstance(piece, FileRange)] == [
        FileRange(received.path, 0, 10)
    ] * 2


def test_old_files_of_a_dead_process_are_swept(tmp_path):
    for name in ("soap-1.part", "soap-2.part", "other"):
        (tmp_path / name).write_bytes(b"")
    now = (tmp_path / "other").stat().st_mtime

    assert sweep(tmp_path, older_than_seconds=60, now=now) == 0
    assert sweep(tmp_path, older_than_seconds=60, now=now + 61) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
