"""BPPC: acknowledged policies are what the domain says they mean, for their time; all else is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.consent.documents.bppc import read_meanings, translated
from shared.consent.documents.translation import NotTranslatable
from shared.consent.policy import PolicyError
from tests.support.consents import OPT_IN, OPT_OUT, an_acknowledgement

MEANINGS = {
    OPT_OUT: ({"effect": "deny"},),
    OPT_IN: ({"effect": "permit", "purposes": ["TREAT"]}, {"effect": "deny", "confidentiality": ["V"]}),
}


def test_an_opt_out_denies_from_its_day_on():
    translation = translated(an_acknowledgement(OPT_OUT, begins="20300504"), MEANINGS)

    assert (translation.patient_root, translation.patient_extension) == ("2.999.1", "P0001")
    assert translation.policies == ({"effect": "deny", "valid_from": datetime(2030, 5, 4, tzinfo=UTC)},)


def test_each_acknowledged_policy_counts_until_the_day_that_is_named_is_over():
    translation = translated(
        an_acknowledgement(OPT_IN, OPT_OUT, begins="20300101120000+0200", ends="20301231"), MEANINGS
    )

    assert [one["effect"] for one in translation.policies] == ["permit", "deny", "deny"]
    assert {one["valid_from"] for one in translation.policies} == {datetime(2030, 1, 1, 10, tzinfo=UTC)}
    assert {one["valid_until"] for one in translation.policies} == {datetime(2031, 1, 1, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("written", "ends"),
    [
        ("2030", datetime(2031, 1, 1, tzinfo=UTC)),
        ("203012", datetime(2031, 1, 1, tzinfo=UTC)),
        ("203002", datetime(2030, 3, 1, tzinfo=UTC)),
        ("2030022809", datetime(2030, 2, 28, 10, tzinfo=UTC)),
        ("20300228093015-0500", datetime(2030, 2, 28, 14, 30, 16, tzinfo=UTC)),
    ],
)
def test_an_end_is_as_fine_as_it_is_written(written: str, ends: datetime):
    [policy] = translated(an_acknowledgement(OPT_OUT, ends=written), MEANINGS).policies
    assert policy["valid_until"] == ends


PLAIN = an_acknowledgement(OPT_OUT, OPT_IN).decode()
REFUSED = {
    "no XML": "rubbish",
    "another root": PLAIN.replace("ClinicalDocument", "Document"),
    "an unknown policy": PLAIN.replace(OPT_IN, "2.999.50.3"),
    "no policy at all": an_acknowledgement().decode(),
    "another template": PLAIN.replace("1.3.6.1.4.1.19376.1.5.3.1.2.6", "2.999.6"),
    "no code": PLAIN.replace(f'<code code="{OPT_IN}" codeSystem="2.999.50"/>', ""),
    "no beginning": PLAIN.replace('<low value="20200101"/>', "", 1),
    "two times": PLAIN.replace("20200101", "20200102", 1),
    "no time": PLAIN.replace("20200101", "soon"),
    "a day that is none": PLAIN.replace("20200101", "20201341"),
    "an end before the beginning": an_acknowledgement(OPT_OUT, begins="20300101", ends="20290101").decode(),
    "two patients": PLAIN.replace("<patientRole>", '<patientRole><id root="2.999.1" extension="P2"/>'),
    "a patient without extension": PLAIN.replace('extension="P0001"', ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_wholly_understood_is_refused_with_a_reason(case: str):
    with pytest.raises(NotTranslatable) as refused:
        translated(REFUSED[case].encode(), MEANINGS)
    assert len(str(refused.value)) > 10


def test_what_policies_mean_is_read_and_a_mistake_is_told(tmp_path: Path):
    path = tmp_path / "policies.json"
    path.write_text(json.dumps({oid: list(policies) for oid, policies in MEANINGS.items()}))
    assert read_meanings(path) == MEANINGS

    for content in ("", "[]", '{"x": []}', '{"2.999.1": []}', '{"2.999.1": [{"effect": "perhaps"}]}',
                    '{"2.999.1": [{"effect": "deny", "valid_from": "2030-01-01T00:00Z"}]}'):  # fmt: skip
        path.write_text(content)
        with pytest.raises(PolicyError):
            read_meanings(path)
