import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.domain import feed
from registry.domain.feed import Event
from shared.hl7v2 import message as hl7v2
from shared.hl7v2.message import AnswerCode, MessageRefused
from shared.hl7v2.mllp import FrameError, MllpFrames, framed
from tests.support.metadata import DOMAIN

PATIENT = f"P-1^^^&{DOMAIN}&ISO"


def adt(event="A04", pid3=PATIENT, *, mrg="", charset="UNICODE UTF-8", control="C1", kind=None, extra=""):
    segments = [
        f"MSH|^~\\&|ADT|NORTH|REG|HUB|20300504||{kind or f'ADT^{event}'}|{control}|P|2.3.1||||||{charset}",
        f"EVN|{event}",
        f"PID|||{pid3}||Roe^Rick",
    ]
    if mrg:
        segments.append(f"MRG|{mrg}")
    return ("\r".join(segments) + "\r" + extra).encode()


def decode(octets, **options):
    return feed.decode(octets, domain=DOMAIN, **options)


def refused(octets, **options):
    with pytest.raises(MessageRefused) as refusal:
        decode(octets, **options)
    return refusal.value


# --- messages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [*sorted(feed.ADDING), Event.UPDATE])
def test_the_patient_is_the_id_of_the_affinity_domain_among_others(event):
    message = decode(adt(event, f"17^^^&1.2.3&ISO~{PATIENT}~9^^^OTHER"))
    assert (message.event, message.patient_id) == (event, PATIENT)
    assert message.header.facility == "NORTH"


def test_a_merge_names_both():
    message = decode(adt("A40", mrg=f"P-2^^^&{DOMAIN}&ISO", kind="ADT^A40^ADT_A39"))
    assert (message.prior_patient_id, message.patient_id) == (f"P-2^^^&{DOMAIN}&ISO", PATIENT)


def test_ids_are_spelled_in_one_way():
    assert decode(adt(pid3=f"a\\T\\b^^^NS&{DOMAIN}&ISO^PI")).patient_id == f"a\\T\\b^^^&{DOMAIN}&ISO"
    assert decode(adt(pid3=f"Mu\u0308^^^&{DOMAIN}&ISO")).patient_id == f"M\u00fc^^^&{DOMAIN}&ISO"


def test_a_namespace_stands_for_the_domain_when_so_set():
    assert decode(adt(pid3="P-1^^^HUB"), namespace="HUB").patient_id == PATIENT
    assert refused(adt(pid3="P-1^^^HUB")).code is AnswerCode.ERROR
    assert refused(adt(pid3="P-1^^^HUB&1.2.3&ISO"), namespace="HUB").code is AnswerCode.ERROR


def test_line_ends_of_others_are_read():
    assert decode(adt().replace(b"\r", b"\r\n")).patient_id == PATIENT
    assert decode(adt().replace(b"\r", b"\n")).patient_id == PATIENT


UMLAUT = f"M\u00fc^^^&{DOMAIN}&ISO"


@pytest.mark.parametrize(
    ("charset", "codec", "patient_id"),
    [
        ("UNICODE UTF-8", "utf-8", "M\u00fc"),
        ("UTF8", "utf-8", "M\u00fc"),
        ("8859/1", "latin-1", "M\u00fc"),
        ("8859/1~ISO IR87", "latin-1", "M\u00fc"),
        ("ISO-8859-1", "latin-1", "M\u00fc"),
        ("iso_8859-15", "iso8859-15", "M\u0153"),
        ("8859/2", "iso8859-2", "\u0141a"),
        ("8859/5", "iso8859-5", "\u0416a"),
        ("ISO_IR 144", "iso8859-5", "\u0416a"),
        ("WINDOWS-1252", "cp1252", "M\u0153"),
        ("GB 18030-2000", "gb18030", "\u738b"),
        ("KS X 1001", "euc_kr", "\uae40"),
    ],
)
def test_a_named_character_set_is_read(charset, codec, patient_id):
    octets = adt(pid3=f"{patient_id}^^^&{DOMAIN}&ISO", charset=charset).decode().encode(codec)
    assert decode(octets).patient_id == f"{patient_id}^^^&{DOMAIN}&ISO"


def test_every_character_set_that_is_named_as_known_is_known_to_python():
    for name in hl7v2.CHARSETS:
        assert decode(adt(charset=name)).patient_id == PATIENT


@pytest.mark.parametrize("name", ["J\u00fcrgen", "\u00c5sa", "\u00d8ystein"])
def test_a_name_that_is_not_utf_8_and_says_nothing_of_it_keeps_no_patient_unknown(name):
    octets = adt(charset="").decode().replace("Rick", name).encode("latin-1")
    assert decode(octets).patient_id == PATIENT
    assert decode(octets.replace(b"2.3.1||||||", b"2.3.1")).patient_id == PATIENT


def test_without_a_name_the_default_is_read_after_utf_8():
    assert decode(adt(pid3=UMLAUT, charset="")).patient_id == UMLAUT
    octets = adt(charset="").decode().replace("Rick", "\u0416").encode("iso8859-5")
    assert decode(octets, default_charset="8859/5").patient_id == PATIENT
    assert refused(octets, default_charset="ASCII").place == "MSH-18"


def test_no_patient_is_known_by_an_id_whose_character_set_was_guessed():
    guessed = adt(pid3=UMLAUT, charset="").decode().encode("latin-1")
    assert refused(guessed).place == "MSH-18"
    merge = adt("A40", mrg=UMLAUT, charset="").decode().encode("latin-1")
    assert refused(merge).place == "MSH-18"


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\r\n", b"\n\n", b"\xef\xbb\xbf\r\n"])
def test_a_byte_order_mark_and_line_ends_before_the_message_are_skipped(before):
    assert decode(before + adt()).patient_id == PATIENT


@pytest.mark.parametrize(
    "octets",
    [
        adt(charset="EBCDIC"),
        adt(charset="ISO IR87"),
        adt().replace(b"Roe", b"R\xf6e"),
        adt(pid3=UMLAUT, charset="").decode().encode("latin-1"),
        adt(charset="").replace(b"|", b"*"),
        adt().replace(b"|^~\\&|", b"|^~\\#|", 1),
        b"\xef\xbb\xbf" + adt(charset="ISO IR87"),
        adt() + b"ZZZ\r" * hl7v2.MAX_SEGMENTS,
        adt(kind="ORU^R01"),
        adt("A02"),
        adt(pid3=""),
    ],
)
def test_every_refusal_names_the_message_that_it_refuses(octets):
    assert refused(octets).header.control_id == "C1"


@pytest.mark.parametrize(
    ("octets", "code", "number"),
    [
        (b"", AnswerCode.REJECT, 100),
        (b"nonsense", AnswerCode.REJECT, 100),
        (b"MSH*^~\\&*", AnswerCode.REJECT, 100),
        (b"MSH|^~\\&", AnswerCode.REJECT, 101),
        (adt(control=""), AnswerCode.REJECT, 101),
        (adt(kind="ORU^R01"), AnswerCode.REJECT, 200),
        (adt("A02"), AnswerCode.REJECT, 201),
        (adt().replace(b"2.3.1", b"3.0"), AnswerCode.REJECT, 203),
        (adt(pid3=""), AnswerCode.ERROR, 204),
        (adt(pid3="P-1^^^&1.2.3&ISO"), AnswerCode.ERROR, 204),
        (adt(pid3=f"P-1^^^&{DOMAIN}&ISO~P-2^^^&{DOMAIN}&ISO"), AnswerCode.ERROR, 204),
        (adt(pid3=f"P\x01^^^&{DOMAIN}&ISO"), AnswerCode.ERROR, 204),
        (adt("A40"), AnswerCode.ERROR, 100),
        (adt("A40", mrg=PATIENT, extra=f"PID|||{PATIENT}\rMRG|{PATIENT}\r"), AnswerCode.ERROR, 100),
        (adt(extra="ZZZ|1\r" * 2_000), AnswerCode.REJECT, 100),
    ],
)
def test_what_cannot_be_taken_says_why(octets, code, number):
    error = refused(octets)
    assert (error.code, error.number) == (code, number)
    assert error.text


def test_an_acknowledgement_goes_back_to_its_sender():
    header = decode(adt(control="C77")).header
    segments = hl7v2.acknowledgement(header).decode().split("\r")
    assert segments[0].split("|")[2:6] == ["REG", "HUB", "ADT", "NORTH"]
    assert segments[0].split("|")[8] == "ACK^A04"
    assert segments[1] == "MSA|AA|C77"


def test_a_refusal_names_place_and_reason_without_breaking_the_message():
    error = MessageRefused(AnswerCode.ERROR, 204, "PID-3", "a | b ^ c\rMSA|AA|x")
    segments = hl7v2.acknowledgement(error.header, error=error).decode().split("\r")
    assert [segment[:3] for segment in segments] == ["MSH", "MSA", "ERR", ""]
    assert segments[1].startswith("MSA|AE||a \\F\\ b")
    assert segments[2].startswith("ERR|PID-3^^^204&")


@given(st.binary(max_size=300))
def test_any_bytes_end_in_a_message_or_a_feed_error(octets):
    for candidate in (octets, b"MSH|^~\\&" + octets, adt() + octets):
        try:
            header, problem = decode(candidate).header, None
        except MessageRefused as error:
            header, problem = error.header, error
        assert hl7v2.acknowledgement(header, error=problem).startswith(b"MSH|")


# --- frames ----------------------------------------------------------------------------------------------


@given(
    st.lists(st.binary(max_size=40).filter(lambda octets: b"\x1c" not in octets), max_size=4),
    st.data(),
)
def test_messages_come_out_wherever_the_stream_is_split(messages, data):
    messages = [message for message in messages if not message.endswith(b"\x1c")]
    stream = b"".join(framed(message) for message in messages)
    reader, found, at = MllpFrames(1_000), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, len(stream) - at))
        reader.feed(stream[at : at + step])
        at += step
        while (message := reader.next()) is not None:
            found.append(message)
    assert found == messages
    assert not reader.inside


def test_every_single_split_of_one_frame():
    stream = framed(b"MSH|") + b"\r\n" + framed(b"MSA|")
    for at in range(len(stream) + 1):
        reader, found = MllpFrames(100), []
        for part in (stream[:at], stream[at:]):
            reader.feed(part)
            while (message := reader.next()) is not None:
                found.append(message)
        assert found == [b"MSH|", b"MSA|"]


def test_a_frame_is_bounded():
    reader = MllpFrames(10)
    reader.feed(framed(b"123456789"))
    assert reader.next() == b"123456789"
    reader.feed(b"\x0b" + b"1" * 10)
    with pytest.raises(FrameError, match="at most 10"):
        reader.next()


def test_what_does_not_begin_a_frame_is_refused():
    reader = MllpFrames(10)
    reader.feed(b"GET / HTTP/1.1")
    with pytest.raises(FrameError, match="0x0B"):
        reader.next()


def with_fields(number: int) -> bytes:
    return adt().replace(b"PID|", b"PV1" + b"|x" * number + b"\rPID|", 1)


def with_segments(number: int) -> bytes:
    octets = adt().rstrip(b"\r") + b"\r"
    return octets + b"ZZZ|1\r" * (number - octets.count(b"\r") - 1)


def with_repetitions(number: int) -> bytes:
    return adt(pid3="~".join((*("X^^^&9.9&ISO" for _ in range(number - 1)), PATIENT)))


@pytest.mark.parametrize(
    ("build", "most"),
    [
        (with_fields, hl7v2.MAX_FIELDS),
        (with_segments, hl7v2.MAX_SEGMENTS),
        (with_repetitions, feed.MAX_REPETITIONS),
    ],
)
def test_a_message_has_so_many_fields_segments_and_ids_and_no_more(build, most):
    assert decode(build(most)).patient_id == PATIENT
    for number in (most + 1, 100 * most):
        error = refused(build(number))
        assert error.code is AnswerCode.REJECT
        assert str(most) in error.text
        assert error.header.control_id == decode(adt()).header.control_id
