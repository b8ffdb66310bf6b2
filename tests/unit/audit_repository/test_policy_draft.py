"""A policy as it is written into a form."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from audit_repository.domain.policy_draft import drafted, field_of, policy_of
from shared.consent.policy import Effect
from tests.support.metadata import PATIENT

NOW = datetime(2030, 5, 4, 9, 0, tzinfo=UTC)


def a_draft(**texts):
    return drafted({"effect": "deny"} | texts, PATIENT, now=NOW)


def test_each_line_is_one_value_and_empty_fields_do_not_matter():
    draft = a_draft(roles="SURGEON^^1.2\r\n\r\n RAD-PHYS ", users="", description=" as she wished ")

    assert draft.wrong == {}
    policy = policy_of(draft, PATIENT)
    assert policy.roles == ("RAD-PHYS", "SURGEON^^1.2")
    assert (policy.effect, policy.users, policy.description) == (Effect.DENY, (), "as she wished")


@pytest.mark.parametrize(
    ("written", "field", "moment"),
    [
        ("2030-06-01", "valid_from", datetime(2030, 6, 1, tzinfo=UTC)),
        ("2030-06-01", "valid_until", datetime(2030, 6, 2, tzinfo=UTC)),
        ("2030-06-01 12:30", "valid_until", datetime(2030, 6, 1, 12, 30, tzinfo=UTC)),
    ],
)
def test_a_day_counts_whole_and_a_moment_is_in_utc(written, field, moment):
    assert getattr(policy_of(a_draft(**{field: written}), PATIENT), field) == moment


@pytest.mark.parametrize(
    ("texts", "fields"),
    [
        ({"effect": ""}, {"effect"}),
        ({"effect": "break"}, {"effect"}),
        ({"effect": "permit", "absolute": "yes"}, {"absolute"}),
        ({"roles": "^^1.2"}, {"roles"}),
        ({"confidentiality": "R\nV^^1.2"}, {"confidentiality"}),
        ({"valid_from": "tomorrow", "valid_until": "2030-13-01"}, {"valid_from", "valid_until"}),
        ({"valid_until": "2030-05-03"}, {"valid_until"}),
        ({"valid_from": "2031-01-01", "valid_until": "2030-12-31"}, {"valid_until"}),
        ({"effect": "", "roles": "^^", "purposes": "a^b^c^d"}, {"effect", "roles", "purposes"}),
        ({"description": "x" * 2_001}, {"description"}),
        ({"users": "x" * 257}, {"users"}),
        ({"documents": "\n".join(map(str, range(201)))}, {"documents"}),
    ],
)
def test_every_field_that_is_wrong_is_told_beside_it(texts, fields):
    wrong = a_draft(**texts).wrong

    assert wrong.keys() == fields
    assert all(wrong.values())


def test_a_refusal_is_told_beside_the_field_that_it_names():
    assert field_of("roles: each must be a code") == ("roles", "each must be a code")
    assert field_of("the patient is not known here: feed it") == (
        "",
        "the patient is not known here: feed it",
    )
