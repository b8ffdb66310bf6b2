"""The hardened parser: what it refuses, and that it reads what is fine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from shared.faults import SenderFault
from shared.xml import (
    MAX_ATTRIBUTES,
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_NAMESPACES,
    XmlError,
    XmlGuard,
    attribute,
    child,
    escape,
    escape_attribute,
    parse,
    text,
)

DTD = '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'
BOMB = (
    '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb">'
    + "".join(f'<!ENTITY b{n} "{("&b" + str(n - 1 or "") + ";") * 10}">' for n in range(1, 9))
    + "]><a>&b8;</a>"
)


def nested(depth: int) -> bytes:
    return b"<a>" * depth + b"</a>" * depth


def wide(attributes: int) -> bytes:
    return ("<a " + " ".join(f'b{n}=""' for n in range(attributes)) + "/>").encode()


def guarded(octets: bytes) -> None:
    guard = XmlGuard()
    guard.feed(octets)
    guard.close()


@pytest.mark.parametrize("read", [parse, guarded])
@pytest.mark.parametrize(
    ("fine", "too_much", "says"),
    [
        (nested(MAX_DEPTH), nested(MAX_DEPTH + 1), "100 levels"),
        (wide(MAX_ATTRIBUTES), wide(MAX_ATTRIBUTES + 1), "64 attributes"),
        (
            b"<a>" + b"<b/>" * (MAX_ELEMENTS - 1) + b"</a>",
            b"<a>" + b"<b/>" * MAX_ELEMENTS + b"</a>",
            "1000000 el",
        ),
    ],
)
def test_limits_hold_at_the_element(read, fine, too_much, says):
    read(fine)
    with pytest.raises(XmlError, match=says):
        read(too_much)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_the_shortest_document_beyond_a_limit_is_refused(encoding: str):
    levels, attributes = MAX_DEPTH + 1, MAX_ATTRIBUTES + 1
    deep = "<a>" * (levels - 1) + "<a/>" + "</a>" * (levels - 1)
    for document, says in ((deep, "100 levels"), (wide(attributes).decode(), "64 attributes")):
        with pytest.raises(XmlError, match=says):
            parse(document.encode(encoding))


def test_the_guard_counts_namespaces():
    def declaring(number: int) -> bytes:
        return ("<a " + " ".join(f'xmlns:b{n}="u{n}"' for n in range(number)) + "/>").encode()

    guarded(declaring(MAX_NAMESPACES))
    with pytest.raises(XmlError, match="32 namespaces"):
        guarded(declaring(MAX_NAMESPACES + 1))


@pytest.mark.parametrize("read", [parse, guarded])
@pytest.mark.parametrize("octets", [DTD.encode(), BOMB.encode(), b" " + DTD.encode(), b"<!DOCTYPE a><a/>"])
def test_a_document_type_is_refused(read, octets):
    with pytest.raises(XmlError):
        read(octets)


def test_a_document_type_in_utf16_is_refused():
    with pytest.raises(XmlError, match="document type"):
        parse(DTD.encode("utf-16"))


def test_utf8_and_utf16_are_read_and_others_refused():
    for encoding in ("utf-8", "utf-16", "UTF-8"):
        assert parse(f'<?xml version="1.0" encoding="{encoding}"?><a>ä</a>'.encode(encoding)).text == "ä"
    for encoding in ("iso-8859-1", "windows-1252"):
        with pytest.raises(XmlError, match="UTF-8"):
            parse(f'<?xml version="1.0" encoding="{encoding}"?><a>ä</a>'.encode(encoding))


@pytest.mark.parametrize(
    "octets", [b"", b"   ", b"<a>", b"<a></b>", b"<a/><b/>", b"\x00", b"<a>\x01</a>", b"<u:a/>"]
)
def test_what_is_not_well_formed_is_refused_without_quoting_it(octets):
    with pytest.raises(XmlError, match="well-formed") as refused:
        parse(octets)
    assert "<" not in str(refused.value)


def test_the_guard_tells_what_was_opened_last():
    guard = XmlGuard()
    for octets, opened in (
        (b'<a xmlns="u">', "u a"),
        (b"text", ""),
        (b"<b>", "u b"),
        (b"</b>", ""),
        (b"<c/>", ""),
        (b"<!-- <d> -->", ""),
    ):
        guard.feed(octets)
        assert guard.opened == opened


def test_absence_is_named():
    root = parse(b'<a xmlns="urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0" id="1"><Slot/></a>')

    assert child(root, "rim:Slot") is root[0]
    assert attribute(root, "id") == "1"
    with pytest.raises(SenderFault, match="a has no rim:Name"):
        child(root, "rim:Name")
    with pytest.raises(SenderFault, match="a has no attribute home"):
        attribute(root, "home")


def memory() -> int:
    """Resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to see the memory")
def test_names_that_strangers_make_up_do_not_pile_up():
    def made_up(number: int) -> bytes:
        names = (f"n{number}.{n}.{'x' * 200}" for n in range(1_000))
        return ("<a>" + "".join(f"<{name}/>" for name in names) + "</a>").encode()

    kept = parse(b'<kept a="1"><b/></kept>')
    for number in range(20):
        parse(made_up(number))
    before = memory()
    for number in range(20, 200):
        with suppress(XmlError):
            parse(made_up(number)[: -(number % 2)] if number % 2 else made_up(number))

    assert memory() - before < 10_000_000
    assert [kept.tag, kept.get("a"), kept.find("b").tag] == ["kept", "1", "b"]


def test_comments_do_not_cut_a_value_short():
    assert text(parse(b"<a> one<!-- two --> three </a>")) == "one three"


@pytest.mark.parametrize("value", ["<&>\"'", "a\r\n\tb", "ä\U0001f600"])
def test_what_is_escaped_is_read_as_it_was(value):
    root = parse(f'<a b="{escape_attribute(value)}">{escape(value)}</a>'.encode())

    assert root.text == root.get("b") == value


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"<a>" * 300 + b"</a>" * 300, "100 levels"),
        (b'<?xml version="1.0" encoding="EBCDIC-CP-US"?><a/>', "send UTF-8"),
        (b"<a>\n<b></a>", r"^not well-formed XML: line 2, column \d+$"),
        (b"", "well-formed"),
    ],
)
def test_what_the_parser_itself_refuses_is_told_as_its_reason(octets, reason):
    with pytest.raises(XmlError, match=reason):
        parse(octets)
