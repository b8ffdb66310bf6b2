"""Content-Type headers as they come from the wild."""

from __future__ import annotations

import pytest

from shared.faults import SenderFault
from shared.http.media_type import action_of, decode_media_type


@pytest.mark.parametrize(
    "header",
    [
        'application/soap+xml; charset=UTF-8; action="urn:a:b"',
        'Application/SOAP+XML;ACTION="urn:a:b";Charset=utf-8',
        'application/soap+xml ;  action = "urn:a:b"',
        'application/soap+xml;\r\n\taction="urn:a:b"',
        "application/soap+xml; action=urn:a:b;",
        'application/soap+xml; action="urn\\:a:b";; x=""',
        'application/soap+xml; action="urn:a:b"; action="urn:second"',
    ],
)
def test_case_order_folding_and_quotes_do_not_matter(header):
    media_type = decode_media_type(header)

    assert media_type.name == "application/soap+xml"
    assert action_of(media_type) == "urn:a:b"


def test_an_action_inside_start_info_counts():
    header = 'multipart/related; start-info="application/soap+xml; action=\\"urn:a:b\\""; boundary=b'

    assert action_of(decode_media_type(header)) == "urn:a:b"


def test_no_action_is_no_action():
    assert action_of(decode_media_type("application/soap+xml")) == ""


@pytest.mark.parametrize("header", ["", "nonsense", "a/b; =", 'a/b; x="open', "a/b; x=y z", "/", "; a=b"])
def test_what_cannot_be_read_is_the_senders_fault(header):
    with pytest.raises(SenderFault, match="Content-Type"):
        decode_media_type(header)


def test_a_hostile_header_is_read_in_no_time():
    for header in ("a/b;" + " " * 8000 + "x", "a/b" + "; x=" * 2000 + '"', 'a/b; x="' + "\\" * 8001):
        with pytest.raises(SenderFault):
            decode_media_type(header)
