"""Registry Stored Query [ITI-18], initiating side: find published documents of a patient (ITI TF-2 3.18)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from consumer.unit import Unit
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.ebrim import schemes
from shared.ebrim.model import AvailabilityStatus, Code, DocumentEntry, Timestamp
from shared.errors import Actor, DocumentUniqueIdError, Rejected, Severity, TooManyResults, XdsError
from shared.imaging import manifest_bundle
from shared.messages.iti18 import (
    ITI18,
    ReturnType,
    StoredQueryRequest,
    encode_parameters,
    encode_request,
)
from shared.security.caller import Caller

FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
GET_DOCUMENTS = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
MANIFEST = Code("1.2.840.10008.5.1.4.1.1.88.59", "1.2.840.10008.2.6.1", "Key Object Selection Document")
# The DICOM UID registry is the scheme of RAD TF-3 4.68; the others are what else is registered.
_MANIFESTS = (
    *(
        Code(MANIFEST.value, scheme)
        for scheme in (MANIFEST.scheme, "1.2.840.10008.2.16.4", "DCM", "DCMUID", "1.3.6.1.4.1.19376.1.2.3")
    ),
    manifest_bundle.FORMAT,
)
_FORMATS = frozenset({MANIFEST.value, manifest_bundle.FORMAT.value})


async def find_manifests(unit: Unit, *, patient_id: str, **filters: Any) -> tuple[DocumentEntry, ...]:
    """Find the imaging manifests of one patient; `filters`, order and errors are those of `find_documents`.

    Of a study that is registered in both encodings the Key Object Selection Document alone is given. Where
    none has its formatCode under a scheme that is known for it, one more query asks without formatCode, and
    the value alone tells: a study is not to be missed for the name of a scheme.
    """
    manifests = await find_documents(unit, patient_id=patient_id, format_codes=_MANIFESTS, **filters)
    if manifests:
        return _once(manifests)
    try:
        documents = await find_documents(unit, patient_id=patient_id, format_codes=(), **filters)
    except Rejected as rejected:
        if {error.code_for(Actor.REGISTRY) for error in rejected.errors} != {TooManyResults.code}:
            raise
        return ()
    return _once(tuple(entry for entry in documents if entry.format_code.value.strip() in _FORMATS))


def is_bundle(entry: DocumentEntry) -> bool:
    """Whether a manifest is a FHIR document Bundle (RAD MADO), and no Key Object Selection Document."""
    return entry.format_code.value.strip() == manifest_bundle.FORMAT.value


def _once(manifests: Sequence[DocumentEntry]) -> tuple[DocumentEntry, ...]:
    """Without Bundles that say again what a document of the same studies and community says."""
    documents = {
        (entry.home_community_id, entry.reference_ids) for entry in manifests if not is_bundle(entry)
    }
    return tuple(
        entry
        for entry in manifests
        if not (
            is_bundle(entry)
            and entry.reference_ids
            and (entry.home_community_id, entry.reference_ids) in documents
        )
    )


async def find_documents(
    unit: Unit,
    *,
    patient_id: str,
    format_codes: Sequence[Code] = (MANIFEST,),
    modalities: Sequence[Code] = (),
    service_start_from: Timestamp | None = None,
    service_start_to: Timestamp | None = None,
    statuses: Sequence[AvailabilityStatus] = (AvailabilityStatus.APPROVED,),
    on_error: Callable[[XdsError], None] | None = None,
) -> tuple[DocumentEntry, ...]:
    """Find the documents of one patient, newest service first; in every community where a gateway is set.

    `patient_id` is a CX of the affinity domain. Without `format_codes` documents of every kind are found.
    Stable and On-Demand entries are asked for: without a type a registry shows the former alone.
    `on_error` is told of each error that stands beside documents: what was found is then not all there is.

    Raises
    ------
    Rejected
        The registry refused the query, or errors came beside documents and nobody listens; with the errors.
    SoapFault, PeerError
        It answered with a fault, or not at all.
    """
    values: dict[str, object] = {
        "$XDSDocumentEntryPatientId": patient_id,
        "$XDSDocumentEntryStatus": tuple(map(str, statuses)),
        "$XDSDocumentEntryType": (schemes.STABLE, schemes.ON_DEMAND),
        "$XDSDocumentEntryFormatCode": tuple(map(str, format_codes)),
        "$XDSDocumentEntryEventCodeList": tuple(map(str, modalities)),
    }
    if service_start_from:
        values["$XDSDocumentEntryServiceStartTimeFrom"] = service_start_from
    if service_start_to:
        values["$XDSDocumentEntryServiceStartTimeTo"] = service_start_to
    request = StoredQueryRequest(
        query_id=FIND_DOCUMENTS,
        return_type=ReturnType.LEAF_CLASS,
        parameters=encode_parameters(values),  # type: ignore[arg-type]
    )
    url = unit.settings.gateway_url or unit.settings.registry_endpoint(ITI18.number)
    response = await _ask(unit, url, request, patient_id, on_error)
    return tuple(sorted(response, key=_newest))


async def get_document(unit: Unit, unique_id: str, *, home_community_id: str = "") -> DocumentEntry:
    """The entry of the document `unique_id`, of another community when one is named; an Approved one before
    others.

    Raises
    ------
    DocumentUniqueIdError
        The registry shows none.
    Rejected, SoapFault, PeerError
        As `find_documents`.
    """
    request = StoredQueryRequest(
        query_id=GET_DOCUMENTS,
        return_type=ReturnType.LEAF_CLASS,
        parameters=encode_parameters({"$XDSDocumentEntryUniqueId": (unique_id,)}),
        home=home_community_id,
    )
    url = unit.settings.across(home_community_id) or unit.settings.registry_endpoint(ITI18.number)
    response = await _ask(unit, url, request, "")
    if not response:
        raise DocumentUniqueIdError(f"the registry shows no document {unique_id}", location=unique_id)
    return min(response, key=lambda entry: entry.availability_status is not AvailabilityStatus.APPROVED)


async def _ask(
    unit: Unit,
    url: str,
    request: StoredQueryRequest,
    patient_id: str,
    on_error: Callable[[XdsError], None] | None = None,
) -> tuple[DocumentEntry, ...]:
    outcome = Outcome.SERIOUS_FAILURE
    try:
        response = await unit.soap.call(ITI18, url, request)
        failed = [error for error in response.errors if error.severity is Severity.ERROR]
        outcome = Outcome.SERIOUS_FAILURE if failed else Outcome.SUCCESS
    finally:
        await unit.record(audit(unit.caller(url), request, patient_id, outcome))
    entries = response.objects.document_entries
    if failed and (on_error is None or not entries):
        raise Rejected(*failed)
    for error in failed:
        on_error(error)  # type: ignore[misc]  # there is one when this is reached with errors
    return entries


def _newest(entry: DocumentEntry) -> tuple[int, str]:
    time = entry.service_start_time or entry.creation_time
    return (-int(time.earliest) if time else 0, entry.unique_id)


def audit(caller: Caller, request: StoredQueryRequest, patient_id: str, outcome: Outcome) -> AuditEvent:
    """Describe the query from the consumer's side (ITI TF-2 3.18.5.1.1)."""
    return patterns.query(
        ITI18.event_type,
        Side.CLIENT,
        caller,
        outcome,
        query_id=request.query_id,
        octets=encode_request(request).xml,
        home=request.home,
        patient_id=patient_id,
    )
