"""An assertion that names a patient is for that one alone, whatever policies permit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.consent.decision import Action
from shared.consent.evaluation import PolicyDecisions, decide_with
from shared.consent.sources import Unasked
from shared.security.caller import Caller
from shared.settings import Default
from tests.support.consent import NOW, OTHER_PATIENT, PATIENT, a_caller, a_document, permit

ELSEWHERE = "761337610411353650^^^&2.16.756.5.30.1.127.3.10.3&ISO"
MERGED = PATIENT.replace("^", "-OLD^", 1)


def bound_to(*patients: str) -> Caller:
    caller = a_caller()
    assert caller.user is not None
    return replace(caller, user=replace(caller.user, resource_ids=patients))


@pytest.mark.parametrize(
    ("patients", "permitted"),
    [
        ((), True),
        ((PATIENT,), True),
        ((OTHER_PATIENT, PATIENT), True),
        ((ELSEWHERE,), True),
        ((ELSEWHERE, PATIENT), True),
        ((MERGED,), True),
        ((OTHER_PATIENT,), False),
        ((ELSEWHERE, OTHER_PATIENT), False),
    ],
)
async def test_it_opens_no_other_patient(patients: tuple[str, ...], permitted: bool):
    document, caller, identities = a_document(), bound_to(*patients), (PATIENT, MERGED)
    policies = (permit(),)
    given = {"default": Default.PERMIT, "now": NOW, "identities": identities}

    (plain,) = decide_with(policies, caller, Action.QUERY, (document,), **given)
    (remembered,) = await PolicyDecisions(Default.PERMIT, clock=lambda: NOW).decide(
        policies, caller, Action.QUERY, (document,), identities=identities
    )
    assert plain.permitted is remembered.permitted is permitted


async def test_it_binds_where_no_policy_is_asked():
    own, other = a_document(), replace(a_document(), patient_id=OTHER_PATIENT)

    decisions = await Unasked().decide(bound_to(PATIENT), Action.RETRIEVE, (own, other))

    assert [decision.permitted for decision in decisions] == [True, False]
    assert "another patient" in decisions[1].reason
