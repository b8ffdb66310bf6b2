"""After merges each identity decides by its own policies and the default, wherever policies travel."""

import itertools
from functools import partial

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.domain import stored_queries as queries
from registry.transactions import SERVED_REST, patient_feed
from registry.unit import Unit
from shared.consent.decision import Action, Resource
from shared.consent.directory import ConsentDecisions, registry_policies
from shared.messages.iti18 import ReturnType
from shared.settings import Default
from tests.support.consent import deny, permit
from tests.support.metadata import DOMAIN, a_document_entry, a_folder, a_submission
from tests.support.registry import APPROVED, CLINICIAN, Registry, open_parts
from tests.support.rest import rest_app

URL = "http://127.0.0.1:8010"
THE_CLINICIAN, SOMEBODY_ELSE = ["RAD-PHYS^^2.999.40.1"], ["SURGEON^^2.999.40.1"]
#: What an identity may have been given, and whether it lets the clinician see; None leaves it to the default.
GIVEN = {
    "nothing": ([], None),
    "all": ([lambda of: permit(patient_id=of)], True),
    "the clinician": ([lambda of: permit(patient_id=of, roles=THE_CLINICIAN)], True),
    "somebody else": ([lambda of: permit(patient_id=of, roles=SOMEBODY_ELSE)], False),
    "nobody": ([lambda of: deny(patient_id=of)], False),
    "not somebody else": ([lambda of: deny(patient_id=of, roles=SOMEBODY_ELSE)], None),
    "all but the clinician": (
        [lambda of: permit(patient_id=of), lambda of: deny(patient_id=of, roles=THE_CLINICIAN)],
        False,
    ),
    "what expired": ([lambda of: permit(patient_id=of, valid_until="2001-01-01T00:00:00Z")], None),
}
_numbers = itertools.count()


@pytest.fixture(params=Default)
async def registry(request, database_place):
    registry = Registry(await open_parts(database_place, consent={"default": request.param}))
    yield registry
    await registry.parts.recorder.close()
    await registry.parts.database.close()


def asked_over_http(registry):
    parts = registry.parts
    app = rest_app(SERVED_REST, unit=partial(Unit, parts), recorder=parts.recorder, settings=parts.settings)
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app, client=("127.0.0.1", 1)), base_url=URL, trust_env=False
    )


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(st.sampled_from(sorted(GIVEN)), min_size=2, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=4),
)
async def test_what_was_merged_is_seen_when_every_identity_permits(registry, given_to_each, merges):
    permits_by_default = registry.parts.settings.consent_default is Default.PERMIT
    patients = [f"M{next(_numbers)}^^^&{DOMAIN}&ISO" for _ in given_to_each]
    await registry.add_patient(*patients)
    documents = {}
    for patient, name in zip(patients, given_to_each, strict=True):
        for policy in GIVEN[name][0]:
            await registry.add_policy(policy(patient))
        documents[patient] = a_document_entry(patient_id=patient)
        await registry.register(
            a_submission(documents[patient], folders=[a_folder(patient_id=patient)], patient_id=patient)
        )

    one = {patient: {patient} for patient in patients}
    for a, b in merges:
        active = list(one)
        subsumed, survivor = active[a % len(active)], active[b % len(active)]
        if subsumed != survivor:
            await registry.parts.database.write(
                lambda work, pair=(subsumed, survivor): patient_feed.merge(work, *pair)
            )
            one[survivor] |= one.pop(subsumed)

    verdicts = dict(zip(patients, (GIVEN[name][1] for name in given_to_each), strict=True))
    async with asked_over_http(registry) as http:
        consent = ConsentDecisions(registry_policies(http, URL), registry.parts.settings.consent_default, 10)
        for survivor, identities in one.items():
            expected = all(
                permits_by_default if verdicts[identity] is None else verdicts[identity]
                for identity in identities
            )
            unique_ids = [documents[identity].unique_id for identity in sorted(identities)]
            seen = await registry.query(
                queries.FIND_DOCUMENTS,
                {"$XDSDocumentEntryPatientId": survivor, "$XDSDocumentEntryStatus": [APPROVED]},
            )
            assert len(seen.document_entries) == (len(identities) if expected else 0)
            by_id = await registry.query(
                queries.GET_DOCUMENTS,
                {"$XDSDocumentEntryUniqueId": unique_ids},
                return_type=ReturnType.OBJECT_REF,
            )
            assert len(by_id.object_refs) == len(seen.document_entries)
            everything = await registry.query(
                queries.GET_ALL,
                {
                    "$patientId": survivor,
                    "$XDSDocumentEntryStatus": [APPROVED],
                    "$XDSSubmissionSetStatus": [APPROVED],
                    "$XDSFolderStatus": [APPROVED],
                },
            )
            assert bool(everything) == expected
            # As the repository and the imaging source ask: by the id under which they keep the document.
            for identity in identities:
                (decision,) = await consent.decide(
                    CLINICIAN,
                    Action.RETRIEVE,
                    (
                        Resource(
                            patient_id=identity, confidentiality=frozenset({"N^^2.16.840.1.113883.5.25"})
                        ),
                    ),
                )
                assert decision.permitted == expected, decision.reason
        await consent.close()


async def test_what_still_stands_under_the_id_that_was_merged_away_is_decided_as_the_survivors(registry):
    """As while a merge moves objects, a portion at a time."""
    ours, theirs = (f"M{next(_numbers)}^^^&{DOMAIN}&ISO" for _ in range(2))
    await registry.add_patient(ours, theirs)
    await registry.add_policy(deny(patient_id=theirs))
    await registry.parts.database.write(lambda work: patient_feed.merge(work, theirs, ours))
    left = a_document_entry(patient_id=theirs)
    await registry.store_as_is(left)

    find = {"$XDSDocumentEntryPatientId": theirs, "$XDSDocumentEntryStatus": [APPROVED]}
    assert not await registry.query(queries.FIND_DOCUMENTS, find)
    assert not await registry.query(queries.GET_DOCUMENTS, {"$XDSDocumentEntryUniqueId": [left.unique_id]})


async def test_an_identity_that_was_merged_can_still_be_given_its_policy(registry):
    ours, theirs = (f"M{next(_numbers)}^^^&{DOMAIN}&ISO" for _ in range(2))
    await registry.add_patient(ours, theirs)
    await registry.add_policy(permit(patient_id=ours))
    await registry.parts.database.write(lambda work: patient_feed.merge(work, theirs, ours))

    async with asked_over_http(registry) as http:

        async def set_(patient, **content):
            return await http.post(
                "/consent/set", json={"patient_id": patient, "effect": "permit", **content}
            )

        async def why():
            answer = await http.post("/consent/why", json={"patient_id": ours, "roles": THE_CLINICIAN})
            return answer.json()

        by_default = registry.parts.settings.consent_default is Default.PERMIT
        assert (await why())["permitted"] == by_default
        policy = (await set_(theirs)).json()
        assert policy["patient_id"] == theirs
        assert (await why())["permitted"]
        other = await set_(ours, policy_id=policy["policy_id"])
        assert other.status_code == 409
        assert "another id of the patient" in other.json()["detail"]
