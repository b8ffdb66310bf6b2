"""The records of every transaction, server and client side, as they stand in `tests/unit/audit/records`.

What is written there is what receivers of this product's trail know; `python -m tests.support.golden_records`
writes it anew, where a record is to change.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lxml import etree

from audit_repository.domain.parameters import Asked
from audit_repository.transactions import SERVED_REST as TRAIL_REST
from audit_repository.transactions.holds import HoldRequest, ReleaseRequest
from audit_repository.transactions.iti81 import Retrieval
from conformance.pages import guides
from consumer.domain.study import RequestedInstance
from consumer.transactions import access
from consumer.transactions import iti18 as consumer_iti18
from consumer.transactions import iti43 as consumer_iti43
from consumer.transactions import iti83 as consumer_iti83
from gateway.transactions import SERVED as GATEWAY
from gateway.transactions.references import RequestedDocuments
from gateway.transactions.trail import retrieval_event
from imaging_source.dimse.c_store import RAD18
from imaging_source.domain import transfer
from imaging_source.domain.orders import DepartmentMessage, OrderedStudy, OrderState, PatientIdentifier
from imaging_source.pages import SERVED_REST as OPERATORS_REST
from imaging_source.pages.page import Act
from imaging_source.pages.publications import WithdrawFields
from imaging_source.store.outbox import LeasedPublication
from imaging_source.store.publications import PublicationError
from imaging_source.transactions import iti57 as source_iti57
from imaging_source.transactions import on_demand, rad13, rad55, rad68, rad69, rad108, rad129
from imaging_source.transactions.search import Search
from registry.domain.feed import Event, FeedMessage
from registry.domain.removal import Item, Removal
from registry.domain.submission import ObjectClass
from registry.transactions import (
    break_glass,
    consent,
    consent_documents,
    iti8,
    iti18,
    iti42,
    iti44,
    iti51,
    iti57,
    iti61,
    iti62,
    iti92,
)
from repository.domain.provision import ProvisionState
from repository.transactions import iti41, iti43, iti86
from repository.transactions import iti42 as repository_iti42
from repository.transactions import iti57 as repository_iti57
from shared.audit import patterns
from shared.audit.dicom_xml import encode
from shared.audit.events import (
    REFUSED_BY_CONSENT,
    AuditEvent,
    Outcome,
    feed_participants,
    http_push_participants,
    purposes,
)
from shared.audit.patterns import Side
from shared.ebrim import schemes
from shared.ebrim.codec import DecodedSubmission
from shared.ebrim.model import Submission
from shared.errors import DocumentUniqueIdError, SubmissionError
from shared.hl7v2.message import Header
from shared.imaging import qido_rs, wado_rs_http
from shared.imaging.query.levels import QueryLevel
from shared.imaging.query.query import Query
from shared.imaging.retrieval import InstanceResult
from shared.imaging.wado_rs import RetrieveRequest, RetrieveResponse
from shared.messages.documents import DocumentRequest, RetrievedDocument, RetrieveDocumentSetResponse
from shared.messages.iti18 import ReturnType, StoredQueryRequest, StoredQueryResponse
from shared.messages.iti38 import ITI38
from shared.messages.iti39 import ITI39
from shared.messages.iti41 import ProvideAndRegisterRequest
from shared.messages.iti42 import RegisterRequest
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.messages.iti44 import Acknowledgement, InstanceId, Interaction, PatientFeedRequest
from shared.messages.iti57 import UpdateRequest
from shared.messages.iti62 import RemoveMetadataRequest
from shared.messages.iti86 import RemoveDocumentsRequest
from shared.messages.on_demand import MadeManifest
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest, SeriesRequest, StudyRequest
from shared.messages.rad75 import RAD75
from shared.messages.rad107 import EVENT_TYPE
from shared.pages.browser import Browser
from shared.pages.forms import SentForm
from shared.pages.link import PageLink
from shared.pages.page import Page, PatientPage
from shared.rest.served import ServedRest, unrecorded
from shared.security.caller import Caller
from shared.soap.served import Served
from tests.support.audit import CLINICIAN, SOURCE, a_caller
from tests.support.metadata import (
    DOMAIN,
    OTHER_PATIENT,
    PATIENT,
    a_document_entry,
    a_submission,
    a_submission_set,
)

FOLDER = Path(__file__).parents[1] / "unit" / "audit" / "records"
MOMENT = datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)
HOME = "urn:oid:2.999.1"
PLACE = "2.999.3"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
QUERY_ID = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"

BY_USER = a_caller()
BY_NODE = a_caller(None)
OK, FAILED = Outcome.SUCCESS, Outcome.SERIOUS_FAILURE

Described = Callable[[], Sequence[AuditEvent]]


def written(events: Sequence[AuditEvent]) -> str:
    """The records, one after the other, without what differs from run to run."""
    records = []
    for event in events:
        root = etree.fromstring(encode(replace(event, time=MOMENT), SOURCE))
        for participant in root.iterfind("ActiveParticipant[@AlternativeUserID]"):
            assert participant.get("AlternativeUserID") == str(os.getpid())
            participant.set("AlternativeUserID", "4711")
        etree.indent(root)
        records.append(etree.tostring(root, encoding="unicode"))
    return "\n".join(records) + "\n"


# --- what is said --------------------------------------------------------------------------------------


def _query(home: str = HOME, **changes: Any) -> StoredQueryRequest:
    described: dict[str, Any] = {
        "query_id": QUERY_ID,
        "return_type": ReturnType.LEAF_CLASS,
        "parameters": {"$XDSDocumentEntryPatientId": ((f"'{PATIENT}'",),)},
        "home": home,
        "octets": b"<query:AdhocQueryRequest/>",
    }
    return StoredQueryRequest(**described | changes)


def _submission(**changes: Any) -> Submission:
    submitted = a_submission(a_document_entry(entry_uuid="urn:uuid:1", unique_id="2.999.6.1"))
    submission_set = a_submission_set(unique_id="2.999.8.1", entry_uuid="urn:uuid:2", **changes)
    return replace(submitted, submission_set=submission_set)


def _document(unique_id: str = "2.999.6.1", home: str = "") -> DocumentRequest:
    return DocumentRequest(repository_unique_id=PLACE, document_unique_id=unique_id, home_community_id=home)


def _delivered(unique_id: str) -> RetrievedDocument:
    return RetrievedDocument(
        repository_unique_id=PLACE,
        document_unique_id=unique_id,
        mime_type="application/dicom",
        content=b"",
    )


_THREE = RetrieveDocumentSetRequest(
    documents=(_document("2.999.6.1"), _document("2.999.6.2", HOME), _document("2.999.6.3"))
)
_IMAGES = RetrieveImagingDocumentSetRequest(
    studies=(
        StudyRequest(
            study_instance_uid="2.999.5.1",
            series=(
                SeriesRequest(
                    series_instance_uid="2.999.5.1.1",
                    documents=(_document("2.999.5.1.1.1", HOME), _document("2.999.5.1.1.2", HOME)),
                ),
                SeriesRequest(
                    series_instance_uid="2.999.5.1.2", documents=(_document("2.999.5.1.2.1", HOME),)
                ),
            ),
        ),
        StudyRequest(
            study_instance_uid="",
            series=(SeriesRequest(series_instance_uid="", documents=(_document("2.999.5.9.1.1"),)),),
        ),
    ),
    transfer_syntax_uids=(),
)


def _results(**changes: Any) -> tuple[InstanceResult, ...]:
    def one(study: str, series: str, number: int, **more: Any) -> InstanceResult:
        described: dict[str, Any] = {
            "study_instance_uid": study,
            "series_instance_uid": series,
            "sop_instance_uid": f"{series}.{number}",
            "repository_unique_id": PLACE,
            "home_community_id": HOME,
        }
        return InstanceResult(**described | changes | more)

    return (
        one("2.999.5.1", "2.999.5.1.1", 1, sop_class_uid=CT, patient_id=PATIENT),
        one("2.999.5.1", "2.999.5.1.1", 2, sop_class_uid=CT, patient_id=PATIENT),
        one("2.999.5.1", "2.999.5.1.2", 1, sop_class_uid=MR, patient_id=PATIENT),
        one("2.999.5.2", "2.999.5.2.1", 1, sop_class_uid=MR, patient_id=PATIENT),
        one("2.999.5.3", "2.999.5.3.1", 1, patient_id=PATIENT, failure=f"{REFUSED_BY_CONSENT}policy 7"),
        one("2.999.5.4", "2.999.5.4.1", 1, failure="XDSDocumentUniqueIdError"),
        one("2.999.5.4", "2.999.5.4.1", 2, failure="XDSDocumentUniqueIdError"),
        one("", "2.999.5.4.2", 1, failure="XDSDocumentUniqueIdError"),
    )


def _many_failed() -> tuple[InstanceResult, ...]:
    return tuple(
        InstanceResult(
            study_instance_uid="2.999.5.1",
            series_instance_uid="2.999.5.1.1",
            sop_instance_uid=f"2.999.5.1.1.{number}",
            failure="XDSDocumentUniqueIdError",
        )
        for number in range(250)
    )


def _wanted() -> tuple[RequestedInstance, ...]:
    def one(study: str, number: int, **more: Any) -> RequestedInstance:
        return RequestedInstance(
            study_instance_uid=study,
            series_instance_uid=f"{study}.1",
            sop_instance_uid=f"{study}.1.{number}",
            patient_id=PATIENT,
            retrieve_location_uid=PLACE,
            home_community_id=HOME,
            **more,
        )

    return (
        one("2.999.5.1", 1, sop_class_uid=CT),
        one("2.999.5.1", 2, sop_class_uid=MR),
        one("2.999.5.2", 1, sop_class_uid=CT),
        one("2.999.5.2", 2, sop_class_uid=CT),
    )


def _named() -> tuple[RequestedDocuments, ...]:
    return tuple(
        RequestedDocuments(series.documents, study.study_instance_uid, series.series_instance_uid)
        for study in _IMAGES.studies
        for series in study.series
    )


def _feed(interaction: Interaction) -> PatientFeedRequest:
    ids = ((InstanceId(DOMAIN, "P-1001"),),)
    return PatientFeedRequest(
        interaction=interaction,
        message_id=InstanceId("2.999.77", "M-1"),
        patients=ids,
        priors=((InstanceId(DOMAIN, "P-2002"),),) if interaction is Interaction.MERGE else (),
    )


def _adt(event: Event) -> FeedMessage:
    return FeedMessage(
        header=Header(
            application="ADT",
            facility="NORTH",
            receiving_application="REG",
            receiving_facility="HUB",
            event=event,
            control_id="MSG-00001",
        ),
        event=event,
        patient_id=PATIENT,
        prior_patient_id=OTHER_PATIENT if event is Event.MERGE else "",
    )


def _department(number: str = "RAD-13", *, corrects: bool = False) -> DepartmentMessage:
    order = OrderedStudy(
        state=OrderState.COMPLETED, study_instance_uid="2.999.11", accession_number="ACC1001"
    )
    return DepartmentMessage(
        header=Header(
            application="RIS",
            facility="NORTH",
            receiving_application="XDSI",
            receiving_facility="HUB",
            event="A40" if corrects else "O01",
            control_id="MSG-00001",
        ),
        number=number,
        patients=(PatientIdentifier("P-77", "NORTH", "2.999.10.1"),),
        prior=(PatientIdentifier("P-78", "NORTH", "2.999.10.1"),) if corrects else (),
        orders=() if corrects else (order,),
        corrects=corrects,
    )


class _AsClient:
    """Ourselves, where a record asks nothing else of a unit."""

    def as_client(self, _: str = "") -> Caller:
        return BY_NODE

    class settings:  # noqa: N801 - a value, by the name that it has
        @staticmethod
        def registry_endpoint(_: str) -> str:
            return BY_NODE.endpoint


def _leased() -> LeasedPublication:
    return LeasedPublication(
        publication_id="1",
        study_instance_uid="2.999.5.1",
        message_id="urn:uuid:3",
        replacement_uuid="",
        submission_set_unique_id="2.999.8.1",
        document=b"",
        submission=b"",
        document_unique_id="2.999.6.1",
        patient_id=PATIENT,
        replaces="",
        attempts=0,
        in_doubt=False,
        created=0,
    )


def _sender(**changes: Any) -> transfer.Sender:
    described: dict[str, Any] = {
        "transaction": rad108.SERVED.event_type,
        "participants": http_push_participants(BY_USER, server=True),
        "purposes": purposes(CLINICIAN),
    }
    return transfer.Sender(**described | changes)


def _came() -> tuple[transfer.Received, ...]:
    def one(fate: transfer.Fate, number: int, sop_class_uid: str = CT, **changes: Any) -> transfer.Received:
        described: dict[str, Any] = {
            "study_instance_uid": "2.999.5.1",
            "patient_id": PATIENT,
            "sop_class_uid": sop_class_uid,
            "fate": fate,
            "number": number,
            "last_at": MOMENT,
        }
        return transfer.Received(**described | changes)

    created, refused = transfer.Fate.CREATED, transfer.Fate.REFUSED
    return (
        one(created, 3),
        one(created, 1, MR),
        one(transfer.Fate.IDENTICAL, 2),
        one(transfer.Fate.REPAIRED, 1),
        one(refused, 4),
        one(refused, 5, "", study_instance_uid="", patient_id=""),
    )


# --- who records it ------------------------------------------------------------------------------------


def _served(served: Served[Any, Any] | ServedRest[Any, Any], *arguments: Any) -> Described:
    request, response, caller, outcome = arguments
    return lambda: served.audit(request, response, caller, outcome)


_UNSAID = RegisterRequest(decoded=DecodedSubmission(submission=None, errors=(SubmissionError("nothing"),)))
_REGISTER = RegisterRequest.of(_submission())
_UPDATE = UpdateRequest.of(_submission(home_community_id=HOME))
_PROVIDE = ProvideAndRegisterRequest.of(_submission(), ())
_KEPT_BACK = (
    iti18.Withholding(PATIENT, "policy 7", in_part=True),
    iti18.Withholding(OTHER_PATIENT, "policy 8", in_part=False),
)
_OF_NOBODY = {"$XDSDocumentEntryEntryUUID": (("'urn:uuid:1'",),)}
_OF_TWO = {"$XDSDocumentEntryPatientId": ((f"('{PATIENT}')",), (f"('{OTHER_PATIENT}')",))}
_RETRIEVED = iti43.DocumentSet(
    results=tuple(
        iti43.DocumentResult(request=asked, patient_id=patient_id, failure=failure)
        for asked, patient_id, failure in zip(
            _THREE.documents,
            (PATIENT, OTHER_PATIENT, ""),
            ("", f"{REFUSED_BY_CONSENT}policy 7", "document 2.999.6.3 is not available"),
            strict=True,
        )
    ),
)
_RELAYED = RetrieveDocumentSetResponse(
    documents=(_delivered("2.999.5.1.1.1"), _delivered("2.999.5.9.1.1"), _delivered("2.999.6.1")),
    errors=(DocumentUniqueIdError("not there", location="2.999.5.1.1.2"),),
)
_KNOWN_PATIENT = a_caller(replace(CLINICIAN, resource_ids=(PATIENT,)))
_ACKNOWLEDGED = Acknowledgement(errors=(SubmissionError("the patient id was merged"),))


def _gateway() -> dict[str, Described]:
    described: dict[str, Described] = {}
    for one in GATEWAY:
        number = one.transaction.number
        if number in ("ITI-18", "ITI-38"):
            described[f"gateway {number}"] = _served(one, _query(), StoredQueryResponse(), BY_USER, OK)
            described[f"gateway {number} failed"] = _served(one, _query(""), None, BY_USER, FAILED)
            continue
        request: Any = _THREE if number in ("ITI-43", "ITI-39") else _IMAGES
        described[f"gateway {number}"] = _served(one, request, _RELAYED, _KNOWN_PATIENT, OK)
        described[f"gateway {number} failed"] = _served(one, request, None, BY_NODE, FAILED)
    named = (RequestedDocuments(_THREE.documents),)
    described["gateway asks ITI-38"] = lambda: (
        patterns.query(
            ITI38.event_type,
            Side.CLIENT,
            BY_USER,
            FAILED,
            query_id=QUERY_ID,
            octets=b"<q/>",
            home=HOME,
            patient_id=PATIENT,
            description="it does not answer",
        ),
    )
    for transaction, asked in ((ITI43, named), (ITI39, named), (RAD69, _named()), (RAD75, _named())):
        described[f"gateway asks {transaction.number}"] = lambda transaction=transaction, asked=asked: (
            retrieval_event(transaction, Side.CLIENT, BY_USER, OK, asked),
            retrieval_event(transaction, Side.CLIENT, _KNOWN_PATIENT, FAILED, asked, "XDSRepositoryError"),
        )
    return described


def _registry() -> dict[str, Described]:
    described: dict[str, Described] = {
        "registry ITI-18": _served(iti18.SERVED, _query(), StoredQueryResponse(), BY_USER, OK),
        "registry ITI-18 failed": _served(
            iti18.SERVED, _query("", parameters=_OF_NOBODY), None, BY_USER, FAILED
        ),
        "registry ITI-18 kept back": _served(
            iti18.SERVED, _query(), iti18.Answer(fragments=(b"",), withheld=_KEPT_BACK), BY_USER, OK
        ),
        "registry ITI-51": _served(
            iti51.SERVED,
            _query(parameters=_OF_TWO),
            iti18.Answer(fragments=(b"",), withheld=_KEPT_BACK[1:]),
            BY_USER,
            OK,
        ),
        "registry ITI-42": _served(iti42.SERVED, _REGISTER, None, BY_NODE, OK),
        "registry ITI-42 failed": _served(iti42.SERVED, _UNSAID, None, BY_USER, FAILED),
        "registry ITI-61": _served(iti61.SERVED, _REGISTER, None, BY_USER, OK),
        "registry ITI-57": _served(iti57.SERVED, _UPDATE, None, BY_USER, OK),
        "registry ITI-57 failed": _served(
            iti57.SERVED, UpdateRequest(decoded=_UNSAID.decoded), None, BY_USER, FAILED
        ),
        "registry ITI-92": _served(iti92.SERVED, _UPDATE, None, BY_USER, OK),
        "registry ITI-62": _served(
            iti62.SERVED, RemoveMetadataRequest(ids=("urn:uuid:1", "urn:uuid:2")), None, BY_USER, FAILED
        ),
        "registry ITI-62 removed": lambda: tuple(
            iti62._events(
                BY_NODE,
                Removal(
                    ids=("a", "b", "c"),
                    items={
                        name: Item(entry_uuid=name, object_class=ObjectClass.FOLDER, patient_id=of)
                        for name, of in (("a", PATIENT), ("b", PATIENT), ("c", OTHER_PATIENT))
                    },
                ),
            )
        ),
        "registry policy set": lambda: consent._events("policy-7", PATIENT, "set: permit", BY_USER),
        "registry policy not set": _served(
            consent.SERVED[1], consent.PolicyRequest(patient_id=PATIENT), None, BY_USER, FAILED
        ),
        "registry policy not removed": _served(
            consent.SERVED[2],
            consent.RemovalRequest(patient_id=PATIENT, policy_id="policy-7"),
            None,
            BY_NODE,
            FAILED,
        ),
    }
    described |= {
        "registry policy set by a consent": lambda: consent_documents._events(
            "urn:uuid:9", PATIENT, "set by a consent: deny everyone", BY_USER
        ),
        "registry consent not withdrawn": _served(
            consent_documents.SERVED[1],
            consent_documents.WithdrawalRequest(patient_id=PATIENT, source="urn:uuid:9"),
            None,
            BY_USER,
            FAILED,
        ),
        "registry consent not set": _served(
            consent_documents.SERVED[3], consent_documents.ConsentResource(b"{}"), None, BY_USER, FAILED
        ),
    }
    described |= {
        "registry glass not broken": _served(
            break_glass.SERVED[0],
            break_glass.BreakRequest(patient_id=PATIENT, reason="unconscious"),
            None,
            BY_USER,
            FAILED,
        ),
        "registry break not signed off": _served(
            break_glass.SERVED[2],
            break_glass.SignOffRequest(policy_id="policy-7", note="seen"),
            None,
            BY_NODE,
            FAILED,
        ),
    }
    for event in (Event.REGISTER, Event.UPDATE, Event.MERGE):
        described[f"registry ITI-8 {event}"] = lambda event=event: iti8.audit(
            _adt(event), "192.0.2.30", "registry.hub.example", FAILED, description="PID-3 is absent"
        )
    for interaction, served in zip(Interaction, iti44.SERVED, strict=True):
        described[f"registry ITI-44 {interaction.name.lower()}"] = _served(
            served, _feed(interaction), _ACKNOWLEDGED, BY_NODE, FAILED
        )
    return described


def _repository() -> dict[str, Described]:
    on_demand_entry = a_document_entry(object_type=schemes.ON_DEMAND)
    on_demand_submission = replace(_submission(), document_entries=(on_demand_entry,))
    unit: Any = _AsClient()
    return {
        "repository ITI-41": _served(iti41.SERVED, _PROVIDE, None, BY_NODE, OK),
        "repository ITI-41 failed": _served(
            iti41.SERVED, ProvideAndRegisterRequest(decoded=_UNSAID.decoded), None, BY_USER, FAILED
        ),
        "repository ITI-43": _served(iti43.SERVED, _THREE, _RETRIEVED, BY_USER, OK),
        "repository ITI-43 failed": _served(iti43.SERVED, _THREE, None, BY_USER, FAILED),
        "repository ITI-86": _served(
            iti86.SERVED, RemoveDocumentsRequest(documents=_THREE.documents), None, BY_USER, FAILED
        ),
        "repository ITI-86 removed": lambda: iti86._events(
            BY_NODE,
            {
                "2.999.6.1": [(PATIENT, ProvisionState.REGISTERED)],
                "2.999.6.2": [(OTHER_PATIENT, ProvisionState.PENDING)],
            },
            _THREE.documents[:1],
            _THREE.documents[1:],
        ),
        "repository asks ITI-42": lambda: (repository_iti42.audit(unit, _submission(), OK),),
        "repository asks ITI-61": lambda: (repository_iti42.audit(unit, on_demand_submission, FAILED),),
        "repository asks ITI-57": lambda: (repository_iti57.audit(unit, _submission(), OK),),
    }


def _imaging_source() -> dict[str, Described]:
    retrieve = RetrieveRequest(study_instance_uid="2.999.5.1")
    made = MadeManifest(submission=_submission(), document=b"")
    errors = (PublicationError("soap:Sender", "what"), PublicationError("unclear", "who"))
    parts: Any = _AsClient()

    a_search = qido_rs.SearchRequest(
        query=Query(level=QueryLevel.STUDY), octets=b"/dicomweb/studies?PatientID=P-1001"
    )

    def a_page(patients: set[str], withheld: dict[str, str]) -> rad129.RecordedMatches:
        search = Search(a_search.query, patients=patients, withheld=withheld)
        return rad129.RecordedMatches(matches=(), search=search, form=a_search.form)

    def answer(status: int, results: tuple[InstanceResult, ...]) -> RetrieveResponse:
        return RetrieveResponse(status=status, request=retrieve, results=results)  # type: ignore[arg-type]

    return {
        "imaging source RAD-69": _served(
            rad69.SERVED, _IMAGES, rad69.ImagingDocumentSet(results=_results()), BY_USER, OK
        ),
        "imaging source RAD-69 many failed": _served(
            rad69.SERVED, _IMAGES, rad69.ImagingDocumentSet(results=_many_failed()), BY_USER, OK
        ),
        "imaging source RAD-69 failed": _served(rad69.SERVED, _IMAGES, None, BY_USER, FAILED),
        "imaging source RAD-107": _served(
            wado_rs_http.SERVED,
            retrieve,
            answer(200, _results(repository_unique_id="", home_community_id="")),
            BY_USER,
            OK,
        ),
        "imaging source RAD-107 not found": _served(
            wado_rs_http.SERVED, retrieve, answer(404, _results()), BY_NODE, FAILED
        ),
        "imaging source RAD-107 failed": _served(wado_rs_http.SERVED, retrieve, None, BY_USER, FAILED),
        "imaging source RAD-55": _served(
            rad55.SERVED, rad55.WadoRequest(resource=retrieve), answer(200, _results()), BY_USER, OK
        ),
        "imaging source RAD-55 failed": _served(
            rad55.SERVED, rad55.WadoRequest(resource=retrieve), None, BY_USER, FAILED
        ),
        "imaging source RAD-129": _served(
            rad129.SERVED, a_search, a_page({PATIENT}, {OTHER_PATIENT: "policy opt-out"}), BY_USER, OK
        ),
        "imaging source RAD-129 of several": _served(
            rad129.SERVED, a_search, a_page({PATIENT, OTHER_PATIENT}, {}), BY_USER, OK
        ),
        "imaging source RAD-129 failed": _served(rad129.SERVED, a_search, None, BY_USER, FAILED),
        "imaging source RAD-108": lambda: tuple(transfer.events(_sender(), _came())),
        "imaging source RAD-18": lambda: tuple(
            transfer.events(
                _sender(
                    transaction=RAD18,
                    participants=feed_participants(
                        sender=("NORTH", "CT"),
                        receiver=("HUB", "STORE"),
                        sender_address="192.0.2.8",
                        receiver_host="source.hub.example",
                        server=True,
                    ),
                    purposes=(),
                ),
                _came(),
            )
        ),
        "imaging source RAD-13": lambda: rad13.audit(_department(), "192.0.2.30", "source.hub.example", OK),
        "imaging source RAD-13 refused": lambda: rad13.audit(
            _department(), "192.0.2.30", "source.hub.example", FAILED, description="of another patient"
        ),
        "imaging source RAD-12": lambda: rad13.audit(
            _department("RAD-12", corrects=True), "192.0.2.30", "source.hub.example", OK
        ),
        "imaging source RAD-128": lambda: rad13.audit(
            _department("RAD-128"), "192.0.2.30", "source.hub.example", OK
        ),
        "imaging source asks RAD-68": lambda: (
            rad68.audit(_leased(), _submission(), BY_NODE, OK),
            rad68.audit(_leased(), _submission(), BY_NODE, FAILED, errors),
        ),
        "imaging source asks ITI-57": lambda: (source_iti57.audit(parts, _submission(), "2.999.5.1", OK),),
        "imaging source manifest on demand": lambda: (on_demand.audit(made, BY_NODE, "2.999.5.1"),),
    }


def _operators() -> dict[str, Described]:
    look, act = (
        next(one for one in OPERATORS_REST if one.name == name)
        for name in ("Publication", "Withdraw manifest")
    )
    browser = Browser(number="1", is_new=False, over_tls=False, site="imaging_source")
    link = PageLink(browser=browser, handle="4711")
    seen = PatientPage(page=Page(browser=browser, html=b""), patient_id=PATIENT)
    form = SentForm(browser=browser, fields=WithdrawFields(handle="4711", sure="yes"))
    done = Act(path="/publications/4711", patient_id=PATIENT)
    return {
        "imaging source publication looked at": _served(look, link, seen, BY_USER, OK),
        "imaging source manifest withdrawn": _served(act, form, done, BY_USER, OK),
        "imaging source manifest not withdrawn": _served(act, form, None, BY_USER, FAILED),
    }


def _consumer() -> dict[str, Described]:
    asked = _document(home=HOME)
    come = {"2.999.5.1.1.1", "2.999.5.1.1.2", "2.999.5.2.1.1"}
    return {
        "consumer asks ITI-18": lambda: (
            consumer_iti18.audit(BY_USER, _query(), PATIENT, OK),
            consumer_iti18.audit(BY_USER, _query(""), "", FAILED),
        ),
        "consumer asks ITI-43": lambda: (
            consumer_iti43.audit(BY_USER, asked, PATIENT, OK),
            consumer_iti43.audit(BY_USER, _document(), PATIENT, FAILED),
        ),
        "consumer asks ITI-83": lambda: (
            consumer_iti83.audit(BY_USER, b"sourceIdentifier=urn:oid:2.999.1|P-1", PATIENT, OK),
            consumer_iti83.audit(BY_USER, b"sourceIdentifier=urn:oid:2.999.1|P-1", PATIENT, FAILED),
        ),
        "consumer asks RAD-69": lambda: tuple(access.accessed(BY_USER, RAD69.event_type, _wanted(), come)),
        "consumer asks RAD-107": lambda: tuple(access.accessed(BY_USER, EVENT_TYPE, _wanted(), come)),
    }


def _audit_repository() -> dict[str, Described]:
    requests = {
        "Place a hold": HoldRequest(patient=PATIENT, reason="a court asks"),
        "Release a hold": ReleaseRequest(hold_id="urn:uuid:1", reason="the case is closed"),
    }
    request = Retrieval(search=Asked(), parameters=b"date=ge2030-05-04")
    return {
        f"audit repository {served.number or served.name}": _served(
            served, requests.get(served.name, request), None, BY_NODE, FAILED
        )
        for served in TRAIL_REST
        if served.audit is not unrecorded
    }


def _conformance() -> dict[str, Described]:
    written = guides.TrialForm(actor="gateway", initiating="https://gateway.test.example/xca", home=HOME)
    browser = Browser(number="1", is_new=False, over_tls=False, site="conformance")
    form = SentForm(browser=browser, fields=written)
    begun = guides.BegunTrial(path="/trials/1", addresses=(written.initiating, "192.0.2.9:2575"))
    return {
        "conformance test begun": lambda: guides.audit_begun(form, begun, BY_NODE, OK),
        "conformance test not begun": lambda: guides.audit_begun(form, None, BY_NODE, FAILED),
    }


def records() -> dict[str, Described]:
    """What is recorded, by the name of its file: the service, and the transaction that it serves or asks."""
    return {
        **_registry(),
        **_repository(),
        **_imaging_source(),
        **_operators(),
        **_consumer(),
        **_gateway(),
        **_audit_repository(),
        **_conformance(),
    }


def path_of(name: str) -> Path:
    """The file of a record."""
    return FOLDER / f"{name.lower().replace(' ', '-')}.xml"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, described in records().items():
        path_of(name).write_text(written(described()), "utf-8")
