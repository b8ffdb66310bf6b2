"""Values of stored queries: the coding of ITI TF-2 3.18.4.1.2.3.5, and what is tolerated and refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ebrim.identifiers import nfc
from shared.ebrim.model import Code, Timestamp
from shared.ebrim.query_values import MAX_VALUE, ValueKind, encode_value, parse_clause, parse_value, quote
from shared.errors import Actor, QueryError
from tests.support.metadata import PATIENT, characters, codes, texts, timestamps

APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"


@pytest.mark.parametrize(
    ("kind", "text", "values"),
    [
        (ValueKind.CX, f"'{PATIENT}'", (PATIENT,)),
        (ValueKind.STATUS, f"('{APPROVED}')", (APPROVED,)),
        (ValueKind.TIME, "20240101120000", ("20240101120000",)),
        (ValueKind.NUMBER, "2", ("2",)),
        (ValueKind.CODE, "('a^^1.2','b^^1.3')", ("a^^1.2", "b^^1.3")),
        (ValueKind.LIKE, "'%Roe_'", ("%Roe_",)),
        # Quotes may hold separators, and are doubled.
        (ValueKind.UNIQUE_ID, "('a,b','(c)')", ("a,b", "(c)")),
        (ValueKind.LIKE, "'O''Brien'", ("O'Brien",)),
        (ValueKind.LIKE, "('''a''','b''')", ("'a'", "b'")),
        # White space between tokens.
        (ValueKind.CODE, " ( 'a^^1.2' ,\n\t'b^^1.3' ) ", ("a^^1.2", "b^^1.3")),
        # Tolerated: a single for a list and the reverse, double quotes, bare patient ids, quoted numbers.
        (ValueKind.CODE, "'a^^1.2'", ("a^^1.2",)),
        (ValueKind.CX, f"('{PATIENT}')", (PATIENT,)),
        (ValueKind.CODE, '("a^^1.2","b""^^1.3")', ("a^^1.2", 'b"^^1.3')),
        (ValueKind.CX, PATIENT, (PATIENT,)),
        (ValueKind.CX, f"({PATIENT},'P2^^^&1.2&ISO')", (PATIENT, "P2^^^&1.2&ISO")),
        (ValueKind.TIME, "'2024'", ("2024",)),
        (ValueKind.NUMBER, "('2')", ("2",)),
        (ValueKind.UUID, "' urn:uuid: 1 '", ("urn:uuid:1",)),
        (ValueKind.STATUS, f"(' {APPROVED} ')", (APPROVED,)),
        # Blanks of a pattern belong to it.
        (ValueKind.LIKE, "' Roe'", (" Roe",)),
        (ValueKind.CODE, "()", ()),
        (ValueKind.CODE, "( )", ()),
        # Compared in Unicode normal form C.
        (ValueKind.LIKE, "'Mu\u0308ller'", ("M\u00fcller",)),
    ],
)
def test_a_value_is_read(kind, text, values):
    assert parse_value(text, kind) == values


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (ValueKind.CODE, ""),
        (ValueKind.CODE, "a^^1.2"),
        (ValueKind.STATUS, APPROVED),
        (ValueKind.CODE, "'a^^1.2"),
        (ValueKind.CODE, "a^^1.2'"),
        (ValueKind.CODE, "('a^^1.2'"),
        (ValueKind.CODE, "'a^^1.2')"),
        (ValueKind.CODE, "('a^^1.2',)"),
        (ValueKind.CODE, "(,'a^^1.2')"),
        (ValueKind.CODE, "('a^^1.2' 'b^^1.2')"),
        (ValueKind.CODE, "('a^^1.2')('b^^1.2')"),
        (ValueKind.CODE, "'a^^1.2','b^^1.2'"),
        (ValueKind.CODE, "('a^^1.2'),"),
        (ValueKind.CODE, "(('a^^1.2'))"),
        (ValueKind.LIKE, "'O'Brien'"),
        # Bare codes and their scheme in another parameter are of XDS.a.
        (ValueKind.CODE, "('a','b')"),
        (ValueKind.CODE, "('a^^')"),
        (ValueKind.CODE, "('^^1.2')"),
        (ValueKind.CODE, "('a^Display^1.2')"),
        (ValueKind.CODE, "('a^^1.2^^x')"),
        (ValueKind.TIME, "2024-01-01"),
        (ValueKind.TIME, "20240230"),
        (ValueKind.TIME, "2024 01"),
        (ValueKind.NUMBER, "two"),
        (ValueKind.NUMBER, "-1"),
        (ValueKind.CX, "P1"),
        (ValueKind.CX, "'P1^^^1.2'"),
        (ValueKind.OID, "'one'"),
        (ValueKind.REFERENCE_ID, "('A1')"),
        (ValueKind.UUID, "''"),
        (ValueKind.LIKE, "''"),
        (ValueKind.STATUS, "(' ')"),
    ],
)
def test_a_malformed_value_is_an_error_and_no_empty_result(kind, text):
    with pytest.raises(QueryError) as refused:
        parse_value(text, kind)

    assert refused.value.code_for(Actor.REGISTRY) == "XDSRegistryError"


def test_values_of_one_slot_are_one_list_wherever_it_was_split():
    assert parse_clause(("('a^^1.2','b^^1.2')", "('c^^1.2')"), ValueKind.CODE) == (
        "a^^1.2",
        "b^^1.2",
        "c^^1.2",
    )


@given(st.lists(texts(300, alphabet=characters), min_size=1, max_size=12))
def test_a_list_of_strings_is_read_as_it_was_written(values):
    encoded = encode_value(values)

    assert parse_clause(encoded, ValueKind.UNIQUE_ID) == tuple(map(nfc, values))
    assert all(len(value) <= MAX_VALUE or "','" not in value for value in encoded)


@given(st.text(characters, min_size=1, max_size=40))
def test_a_string_is_read_as_it_was_written(text):
    assert parse_value(quote(text), ValueKind.LIKE) == (nfc(text),)


@given(timestamps, st.integers(0, 10**17))
def test_times_and_numbers_are_bare(moment, number):
    assert encode_value(moment) == (moment.digits,)
    assert parse_value(encode_value(number)[0], ValueKind.NUMBER) == (str(number),)


@given(codes.filter(lambda code: "^" not in str(code.value + code.scheme)))
def test_a_code_is_read_as_it_was_written(code):
    assert parse_clause(encode_value([code]), ValueKind.CODE) == (nfc(str(code)),)


def test_a_list_is_split_between_its_values_so_that_each_part_fits_the_schema():
    uuids = [f"urn:uuid:{number:032}" for number in range(20)]

    encoded = encode_value(uuids)

    assert len(encoded) == 4
    assert all(len(value) <= MAX_VALUE for value in encoded)
    assert parse_clause(encoded, ValueKind.UUID) == tuple(uuids)


def test_an_empty_list_is_nothing_to_write():
    assert encode_value([]) == ()


def test_single_values_are_written_alone():
    assert encode_value("a") == ("'a'",)
    assert encode_value(Code("a", "1.2")) == ("'a^^1.2'",)
    assert encode_value(Timestamp("2024")) == ("2024",)


@pytest.mark.parametrize(
    "hostile", ["'" * 300_001, "(" * 300_000, "('a'" + "," * 300_000, "(" + "'a'," * 100_000]
)
def test_hostile_values_are_refused_without_effort(hostile):
    with pytest.raises(QueryError) as refused:
        parse_value(hostile, ValueKind.LIKE)

    assert len(refused.value.context) < 250
