"""The consent policies of patients, for the services and operators of this community (JSON over HTTP).

POST /consent/policies   {"patient_id"}: the policies of a patient and the codes of the documents that were
                         updated, for services that decide themselves
POST /consent/set        a policy; `policy_id` replaces one of the same patient, without it a new one is made.
                         After a merge each id still decides by its own: the policy is that of the id named
POST /consent/remove     {"patient_id", "policy_id"}
POST /consent/why        {"patient_id", "action", "roles", "organizations", "purposes", "confidentiality"}:
                         what would be decided, by which policy, and why no other applied

Only nodes with the right to it are answered (`shared.security.rights`). Bodies must be sent as
`application/json`, which a browser does not do across origins without asking first.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from registry.domain import patients as identities
from registry.domain.patients import Patient
from registry.store import consents, patients, updates
from registry.unit import Parts, Unit
from shared.audit.events import (
    SECURITY_ALERT,
    URI,
    AuditEvent,
    Coded,
    Outcome,
    ParticipantObject,
    http_push_participants,
    patient_object,
    purposes,
)
from shared.audit.recorder import AuditUnavailable
from shared.consent.decision import Action, Resource
from shared.consent.evaluation import explain
from shared.consent.policy import (
    DISCLOSURES,
    PatientPolicies,
    Policy,
    PolicyError,
    encode_patient_policies,
    encode_policy,
    new_policy,
    read_policy,
)
from shared.ebrim.model import Code
from shared.errors import UnavailableError
from shared.http.door import Doors
from shared.http.problem import HttpProblem
from shared.http.raw_asgi import BodyTooLarge, receive_body
from shared.perform import answer_to
from shared.security.authenticator import Authenticator
from shared.security.caller import Caller, User
from shared.settings import PatientPolicy
from shared.store.engine import Reader, Transaction
from shared.store.failures import DatabaseError

MAX_BODY = 64 * 1024
SECURITY_CONFIGURATION = Coded("110129", "DCM", "Security Configuration")

Content = Mapping[str, Any]


class Problem(Exception):
    """The request cannot be answered; `title` says what is wrong and what would be right."""

    def __init__(self, status: int, title: str) -> None:
        super().__init__(title)
        self.status = status
        self.title = title


def consent_routes(parts: Parts, authenticator: Authenticator) -> APIRouter:
    """The four routes."""
    router = APIRouter(prefix="/consent", include_in_schema=False)
    actions: Mapping[str, Callable[[Parts, Caller, Content], Awaitable[Response]]] = {
        "/policies": _policies,
        "/set": _set,
        "/remove": _remove,
        "/why": _why,
    }
    doors = Doors(
        authenticator=authenticator, refusals=parts.recorder.refusals, public_url=parts.settings.public_url
    )
    for path, action in actions.items():
        router.add_api_route(path, _endpoint(parts, doors, f"POST /consent{path}", action), methods=["POST"])
    return router


def _endpoint(
    parts: Parts,
    doors: Doors,
    door: str,
    action: Callable[[Parts, Caller, Content], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            caller = await doors.admit(request.scope, door)
            return await action(parts, caller, await _content(request))
        except Problem as problem:
            return JSONResponse({"status": problem.status, "title": problem.title}, problem.status)
        except HttpProblem as problem:
            return JSONResponse({"status": problem.status, "title": problem.detail}, problem.status)
        except AuditUnavailable:
            return JSONResponse({"status": 503, "title": "the audit trail cannot be written now"}, 503)
        except PolicyError as error:
            return JSONResponse({"status": 400, "title": str(error)}, 400)
        except UnavailableError as error:
            return _later(error)
        except DatabaseError as error:
            if (answer := answer_to(error)) is None:
                raise
            return _later(answer)

    return endpoint


def _later(error: UnavailableError) -> Response:
    return JSONResponse({"status": 503, "title": error.context}, 503, {"retry-after": "2"})


async def _content(request: Request) -> Content:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "send the body as application/json")
    try:
        content = json.loads(await receive_body(request.receive, limit=MAX_BODY))
    except BodyTooLarge as error:
        raise Problem(413, str(error)) from None
    except (ValueError, RecursionError):
        raise Problem(400, "the body is not readable as JSON") from None
    if not isinstance(content, dict):
        raise Problem(400, "the body must be a JSON object")
    return content


# --- the four -----------------------------------------------------------------------------------------


async def _policies(parts: Parts, _: Caller, content: Content) -> Response:
    patient = await _patient(parts, parts.database, content)
    found, identities = await _of(parts.database, patient)
    updated = await updates.find_updated_documents(parts.database, patient.survivor)
    return Response(
        encode_patient_policies(PatientPolicies(patient.survivor, found, identities, updated)),
        media_type="application/json",
    )


async def _set(parts: Parts, caller: Caller, content: Content) -> Response:
    known = await _known_patient(parts, content)
    author = caller.user.audit_name if caller.user else caller.node.subject or caller.node.address
    # Who wrote it and when is what we saw, whatever the body says.
    given: dict[str, Any] = {
        "effect": None,
        **content,
        "patient_id": known.patient_id,
        "author": author,
        "created": parts.now(),
    }
    policy = new_policy(**given)
    text = json.dumps(encode_policy(policy))

    async def done(transaction: Transaction) -> bool | None:
        return await consents.find_kept(transaction, policy.policy_id) == (known.survivor, text) or None

    async def work(transaction: Transaction) -> bool:
        # The patient is held, so that a merge does not leave the policy behind.
        held = await patients.hold_patient(transaction, known.survivor)
        if parts.settings.patients is PatientPolicy.KNOWN and (held is None or not held.active):
            raise Problem(409, "the patient was merged meanwhile; try again")
        kept = await consents.find_kept(transaction, policy.policy_id)
        if kept and kept[0] != known.survivor:
            raise Problem(409, f"{policy.policy_id} is a policy of another patient")
        if kept and read_policy(kept[1]).patient_id != policy.patient_id:
            raise Problem(409, f"{policy.policy_id} was given for another id of the patient; name that one")
        await consents.keep_policy(
            transaction,
            policy_id=policy.policy_id,
            patient_id=known.survivor,
            policy=text,
            is_new=kept is None,
        )
        return True

    events = audit(policy.policy_id, known.survivor, f"set: {policy}", caller)
    await Unit(parts).write(work, events=events, done=done)
    return JSONResponse(encode_policy(policy))


async def _remove(parts: Parts, caller: Caller, content: Content) -> Response:
    patient = await _patient(parts, parts.database, content)
    policy_id = content.get("policy_id")
    if not isinstance(policy_id, str) or not policy_id:
        raise Problem(400, "policy_id is needed")

    async def done(transaction: Transaction) -> bool | None:
        kept = await consents.find_kept(transaction, policy_id)
        return kept is None or kept[0] != patient.survivor or None

    async def work(transaction: Transaction) -> bool:
        if not await consents.remove_policy(transaction, policy_id=policy_id, patient_id=patient.survivor):
            raise Problem(404, "the patient has no policy of this id")
        return True

    await Unit(parts).write(work, events=audit(policy_id, patient.survivor, "removed", caller), done=done)
    return JSONResponse({"removed": policy_id})


async def _why(parts: Parts, caller: Caller, content: Content) -> Response:
    patient = await _patient(parts, parts.database, content)
    asked = Caller(node=caller.node, endpoint=caller.endpoint, user=_user(content))
    policies, identities = await _of(parts.database, patient)
    explanation = explain(
        policies,
        asked,
        _action(content),
        Resource(patient_id=patient.survivor, confidentiality=frozenset(_texts(content, "confidentiality"))),
        default=parts.settings.consent_default,
        now=parts.now(),
        identities=identities,
    )
    return JSONResponse(
        {
            "patient_id": patient.survivor,
            "permitted": explanation.decision.permitted,
            "reason": explanation.decision.reason,
            "considered": [
                {"policy": encode_policy(each.policy), "unmet": list(each.unmet)}
                for each in explanation.considered
            ],
        }
    )


# --- what they are made of ----------------------------------------------------------------------------


async def _patient(parts: Parts, reader: Reader, content: Content) -> Patient:
    """The patient that is meant; one that is not known stands for itself."""
    given = content.get("patient_id")
    patient_id = (
        identities.canonical(given, parts.settings.affinity_domain) if isinstance(given, str) else None
    )
    if patient_id is None:
        domain = parts.settings.affinity_domain
        raise Problem(400, f"patient_id must be an id of the affinity domain: id^^^&{domain}&ISO")
    return await patients.find_patient(reader, patient_id) or Patient(patient_id, patient_id)


async def _known_patient(parts: Parts, content: Content) -> Patient:
    patient = await _patient(parts, parts.database, content)
    known = await patients.find_patient(parts.database, patient.survivor)
    if known is None and parts.settings.patients is PatientPolicy.KNOWN:
        raise Problem(404, "the patient is not known here; feed the id by ITI-8 first")
    return patient


async def _of(reader: Reader, patient: Patient) -> tuple[tuple[Policy, ...], tuple[str, ...]]:
    """The policies of a patient, and the ids that merges made one."""
    found = (await consents.find_given(reader, (patient.survivor,)))[patient.survivor]
    return tuple(map(read_policy, found.policies)), found.identities


def _action(content: Content) -> Action:
    action = content.get("action", Action.QUERY)
    if action not in DISCLOSURES:
        raise Problem(400, f"action must be one of {', '.join(DISCLOSURES)}")
    return Action(action)


def _texts(content: Content, name: str) -> Sequence[str]:
    listed = content.get(name, [])
    if not isinstance(listed, list) or not all(isinstance(value, str) and value for value in listed):
        raise Problem(400, f"{name} must be a list of texts")
    return listed


def _codes(content: Content, name: str) -> tuple[Code, ...]:
    split = (value.partition("^^") for value in _texts(content, name))
    return tuple(Code(code, scheme) for code, _, scheme in split)


def _user(content: Content) -> User | None:
    """The user whom `content` describes; nobody, when it says nothing of one."""
    roles, use = _codes(content, "roles"), _codes(content, "purposes")
    organizations = tuple(_texts(content, "organizations"))
    if not (roles or use or organizations):
        return None
    return User(
        name_id="",
        issuer="",
        assertion_id="",
        roles=roles,
        purposes=use,
        organization_ids=organizations,
    )


def audit(policy_id: str, patient_id: str, what: str, caller: Caller) -> tuple[AuditEvent, ...]:
    """Describe the change of a policy: a change of who may see what (DICOM PS3.15 A.5.3.11)."""
    policy = ParticipantObject(
        object_id=policy_id,
        id_type=URI,
        type_code=2,
        role=13,
        details=(("Alert Description", f"consent policy {what}".encode()),),
    )
    return (
        AuditEvent(
            event_id=SECURITY_ALERT,
            action="E",
            outcome=Outcome.SUCCESS,
            event_types=(SECURITY_CONFIGURATION,),
            participants=http_push_participants(caller, server=True),
            objects=(patient_object(patient_id), policy),
            purposes=purposes(caller.user),
        ),
    )
