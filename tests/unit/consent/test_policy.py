"""A policy's JSON form: what is read back is what was written, and what is not understood is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.consent.cedar import check
from shared.consent.decision import Action
from shared.consent.policy import (
    DISCLOSURES,
    MAX_BREAKS,
    MAX_POLICIES,
    Entry,
    PatientPolicies,
    Policy,
    PolicyError,
    decode_patient_policies,
    decode_policy,
    encode_patient_policies,
    encode_policy,
    new_policy,
    read_policy,
)
from tests.support.consent import PATIENT, deny, permit

printable = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="^"),
    min_size=1,
    max_size=20,
)
codes = st.one_of(printable, st.tuples(printable, printable).map("^^".join))
moments = st.datetimes(timezones=st.just(UTC))
policies = st.builds(
    dict,
    effect=st.sampled_from(["permit", "deny"]),
    roles=st.lists(codes, max_size=4),
    organizations=st.lists(printable, max_size=4),
    purposes=st.lists(codes, max_size=4),
    confidentiality=st.one_of(
        st.lists(printable, max_size=4), st.lists(st.tuples(printable, printable).map("^^".join), max_size=4)
    ),
    actions=st.lists(st.sampled_from(DISCLOSURES), max_size=3),
    valid_from=st.one_of(st.none(), moments),
    description=printable,
    author=printable,
).map(lambda fields: new_policy(patient_id=PATIENT, **fields))


@given(policies)
def test_what_is_written_is_read(policy):
    assert read_policy(json.dumps(encode_policy(policy))) == policy


entries = st.lists(
    st.builds(Entry, st.just(PATIENT), st.frozensets(st.text(max_size=5), max_size=2)),
    min_size=1,
    max_size=2,
).map(tuple)


@given(st.lists(policies, max_size=3), st.dictionaries(st.text(max_size=5), entries, max_size=2))
def test_all_policies_of_a_patient_are_written_and_read(given_policies, updated):
    written = PatientPolicies(PATIENT, tuple(given_policies), (PATIENT, "2^^^&1.2.3&ISO"), updated)

    assert decode_patient_policies(encode_patient_policies(written)) == written


@given(policies)
def test_its_translation_reads_what_the_schema_lists_and_nothing_else(policy):
    check([policy])


def test_every_policy_is_about_queries_and_retrievals_unless_it_says_otherwise():
    assert deny().actions == DISCLOSURES
    assert deny(actions=[]).actions == DISCLOSURES
    assert deny(actions=["query"]).actions == (Action.QUERY,)


def test_a_policy_says_in_words_what_it_does():
    assert str(deny()) == "deny everyone"
    assert str(deny(roles=["B", "A"], purposes=["TREAT"])) == "deny role A or B, purpose TREAT"
    assert str(permit(organizations=["2.999.7"], confidentiality=["N"])) == (
        "permit organization 2.999.7, confidentiality N"
    )


def test_times_are_kept_in_utc():
    policy = permit(valid_from=datetime(2030, 1, 1, tzinfo=timezone(timedelta(hours=2))))

    assert encode_policy(policy)["valid_from"] == "2029-12-31T22:00:00+00:00"


A_POLICY = encode_policy(permit(roles=["RAD"]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("policy_id", "1"),
        ("policy_id", "urn:uuid:00000000-0000-4000-8000-00000000000A"),
        ("policy_id", None),
        ("patient_id", "P0001"),
        ("patient_id", "P0001^^^&1.2.3&ISO' or 1"),
        ("effect", "allow"),
        ("effect", ["permit"]),
        ("effect", None),
        ("created", None),
        ("created", "2030-05-04T00:00:00"),
        ("created", 7),
        ("roles", "RAD"),
        ("roles", [7]),
        ("roles", [""]),
        ("roles", ["a^^b^^c"]),
        ("roles", ["a^b"]),
        ("roles", ["x" * 257]),
        ("roles", [f"r{number}" for number in range(201)]),
        ("roles", {"RAD": True}),
        ("roles", ["a\nb"]),
        ("organizations", [""]),
        ("organizations", None),
        ("purposes", ["^^2.999"]),
        ("confidentiality", ["N", "R^^2.999"]),
        ("actions", ["delete"]),
        ("actions", "query"),
        ("actions", [["query"]]),
        ("actions", 7),
        ("valid_until", "tomorrow"),
        ("valid_until", "2030-13-01T00:00:00Z"),
        ("description", "x" * 2001),
        ("description", "a\x00b"),
        ("author", 7),
    ],
)
def test_a_field_that_is_not_right_is_named(field, value):
    with pytest.raises(PolicyError, match=f"^{field}"):
        decode_policy(A_POLICY | {field: value})


def test_a_field_that_is_not_known_is_refused_and_its_name_not_repeated():
    with pytest.raises(PolicyError, match="known are policy_id, patient_id") as refused:
        decode_policy(A_POLICY | {"Roe^Rick": "friday"})
    assert "Roe" not in str(refused.value)


def test_a_policy_that_ends_before_it_begins_is_refused():
    with pytest.raises(PolicyError, match="valid_until"):
        permit(valid_from="2030-05-04T00:00:00Z", valid_until="2030-05-04T00:00:00Z")


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"patient_id": "1^^^&1.2&ISO", "identities": [], "policies": []}',
        b'{"patient_id": 7, "identities": [], "policies": [], "updated": {}}',
        b'{"patient_id": "1^^^&1.2&ISO"}',
        b'{"patient_id": "1^^^&1.2&ISO", "identities": [], "policies": {}, "updated": {}}',
        b'{"patient_id": "1^^^&1.2&ISO", "identities": [], "policies": [7], "updated": {}}',
        b'{"patient_id": "1^^^&1.2&ISO", "identities": [], "policies": [], "more": true, "updated": {}}',
        b'{"patient_id": "1^^^&1.2&ISO", "identities": [], "policies": [{"effect": "deny"}], "updated": {}}',
        b'{"patient_id": "1^^^&1.2&ISO", "policies": [], "updated": {}}',
        b'{"patient_id": "1^^^&1.2&ISO", "identities": "1", "policies": [], "updated": {}}',
        b'{"patient_id": "1^^^&1.2&ISO", "identities": [1], "policies": [], "updated": {}}',
    ],
)
def test_what_is_not_a_patients_policies_is_refused_whole(octets):
    with pytest.raises(PolicyError):
        decode_patient_policies(octets)


def test_too_many_policies_are_refused():
    content = {
        "patient_id": PATIENT,
        "identities": [],
        "policies": [A_POLICY] * (MAX_POLICIES + MAX_BREAKS + 1),
        "updated": {},
    }

    with pytest.raises(PolicyError, match="at most"):
        decode_patient_policies(json.dumps(content).encode())


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(sorted(Policy.__dataclass_fields__)), inner, max_size=5)
        ),
        max_leaves=12,
    )
)
def test_whatever_json_comes_is_a_policy_or_refused(content):
    try:
        decode_policy(content)
    except PolicyError:
        return
    raise AssertionError("no generated value is a policy")


@pytest.mark.parametrize(
    "updated",
    [
        None,
        [],
        {"2.25.1": []},
        {"2.25.1": "R"},
        {"2.25.1": ["R"]},
        {"2.25.1": [{"patient_id": PATIENT}]},
        {"2.25.1": [{"patient_id": PATIENT, "confidentiality": "R"}]},
        {"2.25.1": [{"patient_id": PATIENT, "confidentiality": ["R", 1]}]},
        {"2.25.1": [{"patient_id": PATIENT, "confidentiality": [], "more": 1}]},
        {"2.25.1": [{"patient_id": "no CX", "confidentiality": []}]},
    ],
)
def test_what_became_of_documents_is_told_in_one_form_only(updated):
    with pytest.raises(PolicyError, match=r"updated|CX"):
        decode_patient_policies(
            json.dumps({"patient_id": PATIENT, "identities": [], "policies": [], "updated": updated}).encode()
        )
