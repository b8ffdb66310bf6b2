"""A registry in process: unit, database and audit spool are real, and so is the wire form of its answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import select

from registry.domain.stored_queries import StoredQuery
from registry.settings import RegistrySettings
from registry.store import consents, identifiers, objects
from registry.store import patients as patient_store
from registry.store.tables import audit_outbox
from registry.transactions import iti18, iti42
from registry.unit import Parts, Unit
from shared.audit.recorder import AuditRecorder
from shared.consent.evaluation import PolicyDecisions
from shared.consent.policy import Policy, encode_policy
from shared.ebrim.codec import DecodedSubmission, RegistryObjects
from shared.ebrim.model import AvailabilityStatus, Code, RegistryObject, Submission
from shared.ebrim.query_values import Value
from shared.errors import Actor, Rejected, XdsError
from shared.messages.iti18 import ITI18, Clauses, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti42 import RegisterRequest
from shared.messages.registry import RegistryResponse, Status
from shared.perform import perform
from shared.security.caller import Caller, Node, User
from shared.settings import Default, PatientPolicy
from shared.soap.served import Served
from tests.support.databases import DatabasePlace
from tests.support.metadata import OTHER_PATIENT, PATIENT

MIGRATIONS = "registry.store:migrations"
APPROVED = str(AvailabilityStatus.APPROVED)
DEPRECATED = str(AvailabilityStatus.DEPRECATED)
ENDPOINT = "http://127.0.0.1:8010/xds/registry"
REPOSITORY = Caller(node=Node(address="127.0.0.1"), endpoint=ENDPOINT, community_node=True)


def a_clinician(*roles: str) -> Caller:
    """A user with these roles, at a node of another hospital."""
    user = User(
        name_id="u-778",
        issuer="https://idp.example",
        assertion_id="_1",
        roles=tuple(Code(role, "2.999.40.1") for role in roles),
    )
    return Caller(node=Node(address="192.0.2.7", subject="CN=viewer"), endpoint=ENDPOINT, user=user)


CLINICIAN = a_clinician("RAD-PHYS")


@dataclass
class Registry:
    """The service's parts, and short ways to use them."""

    parts: Parts

    async def register(
        self, submission: Submission, *, message_id: str = "", caller: Caller = REPOSITORY
    ) -> RegistryResponse:
        """Register; raises `Rejected`."""
        return await self.register_decoded(
            DecodedSubmission(submission=submission), message_id=message_id, caller=caller
        )

    async def register_decoded(
        self, decoded: DecodedSubmission, *, message_id: str = "", caller: Caller = REPOSITORY
    ) -> RegistryResponse:
        return await perform(
            iti42.SERVED,
            partial(Unit, self.parts),
            RegisterRequest(decoded=decoded),
            replace(caller, message_id=message_id),
            self.parts.recorder,
        )

    async def refused(self, submission: Submission) -> list[str]:
        """The error codes with which the registry refuses."""
        with pytest.raises(Rejected) as refusal:
            await self.register(submission)
        return codes(refusal.value)

    async def query(
        self,
        query: StoredQuery | str,
        parameters: Mapping[str, Value | Sequence[Value]] | None = None,
        *,
        caller: Caller = CLINICIAN,
        return_type: ReturnType = ReturnType.LEAF_CLASS,
        raw: Mapping[str, Clauses] | None = None,
        served: Served[Any, Any] = iti18.SERVED,
    ) -> RegistryObjects:
        """The objects of the answer, as a consumer decodes them from the wire; `served` is ITI-18 or 51."""
        request = StoredQueryRequest(
            query_id=query if isinstance(query, str) else query.query_id,
            return_type=return_type,
            parameters={**encode_parameters(parameters or {}), **(raw or {})},
        )
        response = await perform(served, partial(Unit, self.parts), request, caller, self.parts.recorder)
        decoded = ITI18.decode_response(etree.fromstring(ITI18.encode_response(response).xml), {})
        assert not decoded.errors
        assert not decoded.objects.errors
        return decoded.objects

    async def perform(
        self, served: Served[Any, Any], request: Any, *, caller: Caller = REPOSITORY, message_id: str = ""
    ) -> Any:
        """The response of any transaction, with its audit; raises what the transaction raises."""
        caller = replace(caller, message_id=message_id)
        return await perform(served, partial(Unit, self.parts), request, caller, self.parts.recorder)

    async def store_as_is(self, *values: RegistryObject) -> None:
        """Put objects of one patient into the database without any rule, for what other transactions would
        register.
        """
        patient_id = next((of for value in values if (of := getattr(value, "patient_id", ""))), PATIENT)

        async def work(transaction: Any) -> None:
            claimed = await identifiers.claim(transaction, patient_id, values)
            await objects.insert_objects(transaction, patient_id, values, claimed=claimed)

        await self.parts.database.write(work)

    async def add_patient(self, *patient_ids: str) -> None:
        async def work(transaction: Any) -> None:
            for patient_id in patient_ids:
                await patient_store.add_patient(transaction, patient_id)

        await self.parts.database.write(work)

    async def add_policy(self, policy: Policy) -> None:
        async def work(transaction: Any) -> None:
            await consents.keep_policy(
                transaction,
                policy_id=policy.policy_id,
                patient_id=policy.patient_id,
                policy=json.dumps(encode_policy(policy)),
                is_new=True,
            )

        await self.parts.database.write(work)

    def at_later(self, seconds: float) -> Registry:
        """The same registry, some seconds later."""
        now = self.parts.now
        return Registry(replace(self.parts, now=lambda: now() + timedelta(seconds=seconds)))

    async def outbox(self) -> list[bytes]:
        """The audit events that wait in the database."""
        return [
            bytes(octets)
            for (octets,) in await self.parts.database.fetch(
                select(audit_outbox.c.octets).order_by(audit_outbox.c.id)
            )
        ]


def codes(refusal: Rejected | XdsError) -> list[str]:
    """The codes of an error response, as the registry writes them."""
    errors = refusal.errors if isinstance(refusal, Rejected) else (refusal,)
    return [error.code_for(Actor.REGISTRY) for error in errors]


def is_success(response: RegistryResponse) -> bool:
    return response.status is Status.SUCCESS


async def open_parts(place: DatabasePlace, **changes: Any) -> Parts:
    """The parts of a registry at `place`."""
    settings = RegistrySettings.model_validate({"data": place.folder.parent / "data"} | changes)
    database = await place.open(MIGRATIONS, plans_kept=True)
    return Parts(
        settings=settings,
        database=database,
        decisions=PolicyDecisions(Default(settings.consent_default)),
        recorder=AuditRecorder(settings, "registry"),
    )


@pytest.fixture
async def registry(database_place: DatabasePlace) -> AsyncIterator[Registry]:
    """A fresh registry that knows two patients, on each database."""
    registry = Registry(await open_parts(database_place))
    await registry.add_patient(PATIENT, OTHER_PATIENT)
    yield registry
    await registry.parts.recorder.close()
    await registry.parts.database.close()


@pytest.fixture
async def lenient_registry(database_place: DatabasePlace) -> AsyncIterator[Registry]:
    """A fresh registry that accepts submissions for any patient of the domain."""
    registry = Registry(await open_parts(database_place, patients=PatientPolicy.ANY))
    yield registry
    await registry.parts.recorder.close()
    await registry.parts.database.close()


def told_of_others(message: object, refused: Rejected) -> list[str]:
    """Texts of errors that name a patient or hold a title which the message does not."""
    said = repr(message)
    return [
        error.context
        for error in refused.errors
        for word in (PATIENT, OTHER_PATIENT, PATIENT.partition("^")[0], OTHER_PATIENT.partition("^")[0])
        if word in error.context + error.location and word not in said
    ]
