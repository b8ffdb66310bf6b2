from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.audit import syslog
from shared.audit.syslog import FrameReader, FramingError, Oversized, SyslogError, frame, message, parse

MESSAGES = (b"<85>1 - - - - - - a", b"x" * 1000, "<85>1 - - - - - - \u00e9".encode())


def a_message(body=b"<AuditMessage/>", **changes):
    header = {
        "severity": syslog.NOTICE,
        "time": datetime(2030, 5, 4, 11, 15, 2, 300000, timezone(timedelta(hours=2))),
        "hostname": "viewer.north.example",
        "app_name": "viewer north",
        "procid": "4711",
    }
    return message(body, **header | changes)


def test_the_header_is_the_one_of_iti_20():
    assert a_message() == (
        b"<85>1 2030-05-04T09:15:02.300000Z viewer.north.example viewer_north 4711 IHE+RFC-3881 - "
        b"<AuditMessage/>"
    )


def test_a_header_is_read_as_it_was_written():
    read = parse(a_message(severity=syslog.WARNING))

    assert (read.facility, read.severity) == (10, 4)
    assert read.time == datetime(2030, 5, 4, 9, 15, 2, 300000, UTC)
    assert (read.hostname, read.app_name, read.procid, read.msgid) == (
        "viewer.north.example",
        "viewer_north",
        "4711",
        "IHE+RFC-3881",
    )
    assert read.body == b"<AuditMessage/>"


@given(st.text(max_size=300), st.text(max_size=60))
def test_no_name_breaks_the_header(hostname, app_name):
    read = parse(a_message(hostname=hostname, app_name=app_name))

    assert read.procid == "4711"
    assert read.body == b"<AuditMessage/>"


def test_a_byte_order_mark_before_the_body_is_taken_off():
    assert parse(a_message(syslog.BOM + b"<a/>")).body == b"<a/>"


def test_nil_values_are_empty():
    read = parse(b"<0>1 - - - - - -")

    assert (read.time, read.hostname, read.app_name, read.procid, read.msgid, read.body) == (
        None,
        "",
        "",
        "",
        "",
        b"",
    )


def test_structured_data_is_passed_over_even_with_escapes():
    octets = rb'<34>1 2003-10-11T22:14:15.003Z host app - ID47 [a@1 x="1 \] \" ]"][b] body'.replace(
        b'\\" ]"', b'\\" \\]"'
    )

    read = parse(octets)

    assert read.structured_data.startswith("[a@1")
    assert read.body == b"body"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"<85>2 - - - - - - x",
        b"<085>1 - - - - - - x",
        b"<192>1 - - - - - - x",
        b"<85>1  - - - - - x",
        b"<85>1 2030-05-04t09:15:02z - - - - - x",
        b"<85>1 2030-13-04T09:15:02Z - - - - - x",
        b"<85>1 2030-05-04T09:15:02.1234567Z - - - - - x",
        b"<85>1 2030-05-04T09:15:02 - - - - - x",
        b"<85>1 - " + b"h" * 256 + b" - - - - x",
        b"<85>1 - - - - - [open x",
        b"<85>1 - - - - - -x",
        b"<85>Oct 11 22:14:15 host su: old style",
    ],
)
def test_a_header_that_is_not_rfc_5424_is_refused(octets):
    with pytest.raises(SyslogError):
        parse(octets)


@given(st.binary(max_size=120), st.booleans())
def test_no_bytes_do_worse_than_being_refused(octets, started):
    try:
        read = parse(b"<85>1 - - - - - " + octets if started else octets)
    except SyslogError:
        return
    assert isinstance(read.body, bytes)


def test_hostile_structured_data_takes_no_time():
    with pytest.raises(SyslogError):
        parse(b"<85>1 - - - - - " + b'[a b="\\\\\\\\' * 20_000)


def test_frames_split_at_every_octet_arrive_whole():
    stream = b"".join(map(frame, MESSAGES[::2]))
    for at in range(len(stream) + 1):
        reader = FrameReader(max_bytes=2000)

        received = [*reader.feed(stream[:at]), *reader.feed(stream[at:])]

        assert received == list(MESSAGES[::2])
        assert not reader.inside


def test_a_stream_given_octet_by_octet_arrives_whole():
    reader = FrameReader(max_bytes=2000)
    stream = b"".join(map(frame, MESSAGES))

    assert [whole for octet in stream for whole in reader.feed(bytes((octet,)))] == list(MESSAGES)


def test_two_frames_in_one_segment_are_two_messages():
    reader = FrameReader(max_bytes=2000)

    assert list(reader.feed(frame(b"one") + frame(b"two") + b"3 th")) == [b"one", b"two"]
    assert reader.inside
    assert reader.announced == 3
    assert list(reader.feed(b"r")) == [b"thr"]


@pytest.mark.parametrize(
    "stream",
    [
        b"<85>1 - - - - - - x",
        b"0 x",
        b"01 x",
        b"-1 x",
        b" x",
        b"12345678 x",
        b"123456789",
        b"1x x",
        b"\n",
    ],
)
def test_a_wrong_length_is_refused_as_soon_as_it_is_seen(stream):
    with pytest.raises(FramingError):
        list(FrameReader(max_bytes=2000).feed(stream))


def test_messages_before_a_wrong_length_are_still_given():
    arriving = FrameReader(max_bytes=2000).feed(frame(b"good") + b"bad")

    assert next(arriving) == b"good"
    with pytest.raises(FramingError):
        next(arriving)


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_of_a_frame_beyond_the_limit_the_beginning_is_given_and_the_stream_goes_on(size):
    long = b"0123456789" * 2_000
    stream, reader = frame(b"before") + frame(long) + frame(b"after"), FrameReader(max_bytes=2000)

    received = [one for at in range(0, len(stream), size) for one in reader.feed(stream[at : at + size])]

    assert received == [b"before", Oversized(20_000, sha256(long).hexdigest(), long[:8192]), b"after"]
    assert not reader.inside


@given(st.lists(st.binary(max_size=300), max_size=5), st.lists(st.integers(1, 50), min_size=1, max_size=50))
def test_any_cutting_gives_the_same_messages(messages, cuts):
    stream, reader, received = b"".join(map(frame, filter(None, messages))), FrameReader(max_bytes=2000), []
    while stream:
        size = cuts[len(received) % len(cuts)]
        received.extend(reader.feed(stream[:size]))
        stream = stream[size:]

    assert received == list(filter(None, messages))


LINES = (b"<85>1 - - - - - - one", b"<85>Oct 11 old", b"no header")


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\0\n"])
def test_a_stream_that_begins_with_a_priority_is_one_of_lines_cut_anywhere(ending):
    stream = b"".join(line + ending for line in LINES)
    for at in range(1, len(stream) + 1):
        reader = FrameReader(max_bytes=2000, lines=True)

        received = [*reader.feed(stream[:at]), *reader.feed(stream[at:])]

        assert received == list(LINES)
        assert not reader.inside


def test_a_last_line_needs_no_end_when_the_stream_ends():
    reader = FrameReader(max_bytes=2000, lines=True)

    assert list(reader.feed(b"\n".join(LINES))) == list(LINES[:2])
    assert reader.inside
    assert list(reader.close()) == [LINES[2]]


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_of_a_line_beyond_the_limit_the_beginning_is_given_and_the_stream_goes_on(size):
    long = b"<" + b"0123456789" * 2_000
    stream, reader = long + b"\nafter\n", FrameReader(max_bytes=2000, lines=True)

    received = [one for at in range(0, len(stream), size) for one in reader.feed(stream[at : at + size])]

    assert received == [Oversized(20_001, sha256(long).hexdigest(), long[:8192]), b"after"]


def test_where_lines_are_no_tolerance_they_are_no_frames():
    with pytest.raises(FramingError):
        list(FrameReader(max_bytes=2000).feed(b"<85>1 - - - - - - one\n"))


def test_a_stream_that_began_with_a_count_has_no_lines():
    reader = FrameReader(max_bytes=2000, lines=True)

    assert list(reader.feed(frame(b"one"))) == [b"one"]
    with pytest.raises(FramingError):
        list(reader.feed(b"<85>1 - - - - - - two\n"))
