"""What a consumer sends (ITI-18, ITI-43, RAD-69, RAD-107, ITI-20, ITI-40), and what it makes of answers that are
not as they should be."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from conformance.envelopes import NAMES, Element
from conformance.findings import Severity
from conformance.plans.consumer.peers import Peers, peers, sent, sent_to_the_web
from conformance.plans.probe import Ask, NotOffered, Plan, expect, expect_equal
from conformance.plans.stand import Stand
from conformance.readers.http import MediaType
from conformance.simulators.documents import SimulatedImagingSource, SimulatedRepository
from conformance.simulators.registry import SimulatedRegistry
from conformance.simulators.scripts import ELSEWHERE
from conformance.simulators.server import HttpRequest
from conformance.simulators.soap import SoapMessage
from conformance.simulators.world import LOCATION, MANIFEST, REPOSITORY, SERIES, STUDY
from conformance.stored_queries import IDS
from conformance.validation import judge

PLAN = Plan("consumer", needs=("consumer",), begin=peers)
_QUERY, _RETRIEVE, _IMAGES = "ITI TF-2 3.18.4.1.2", "ITI TF-2 3.43.4.1.2", "RAD TF-2 4.69.4.1.2"
_WADO, _AUDIT, _XUA = "DICOM PS3.18 10.4.1", "ITI TF-2 3.20.4.1.2", "ITI TF-2 3.40.4.1.2"
_SIGNATURE = re.compile(r"<ds:SignatureValue>([^<]*)<")
_CODE = re.compile(r"\((?:'[^']+\^\^[^']+'(?:,\s*)?)+\)")

To = Callable[[Stand], list[HttpRequest]]


def _to(path: str) -> To:
    def requests(stand: Stand) -> list[HttpRequest]:
        matches = [one for one in sent(stand) if one.path == path]
        expect(matches, f"the consumer sent nothing to {path}")
        return matches

    return requests


to_registry, to_repository, to_source = (
    _to(actor.path) for actor in (SimulatedRegistry, SimulatedRepository, SimulatedImagingSource)
)


def _messages(requests: list[HttpRequest]) -> list[SoapMessage]:
    return [SoapMessage.of(one) for one in requests]


def _all(message: SoapMessage, path: str) -> list[Element]:
    return list(message.envelope.xpath(path, namespaces=NAMES))


def _parameters(message: SoapMessage) -> dict[str, list[str]]:
    return {
        slot.get("name", "").lstrip("$"): [
            str(one).strip() for one in slot.xpath("rim:ValueList/rim:Value/text()", namespaces=NAMES)
        ]
        for slot in _all(message, "//rim:AdhocQuery/rim:Slot")
    }


def _searches(stand: Stand) -> list[dict[str, list[str]]]:
    """The parameters of queries by patient."""
    searches = [
        _parameters(one)
        for one in _messages(to_registry(stand))
        if any(name.endswith("PatientId") or name == "patientId" for name in _parameters(one))
    ]
    expect(searches, "no query names a patient")
    return searches


# --- every message -------------------------------------------------------------------------------------

_PLACES: tuple[tuple[str, str, To, bool, str], ...] = (
    ("18", "ITI-18", to_registry, False, "urn:ihe:iti:2007:RegistryStoredQuery"),
    ("43", "ITI-43", to_repository, True, "urn:ihe:iti:2007:RetrieveDocumentSet"),
    ("69", "RAD-69", to_source, True, "urn:ihe:rad:2009:RetrieveImagingDocumentSet"),
)
for _number, _name, _requests, _mtom, _action in _PLACES:

    def _is_sent(stand: Stand, requests: To = _requests, action: str = _action) -> None:
        actions = {one.header("Action") for one in _messages(requests(stand))}
        expect_equal(actions, {action}, "wsa:Action")

    def _in_its_encoding(stand: Stand, requests: To = _requests, mtom: bool = _mtom) -> None:
        types = {MediaType.of(one.headers.get("content-type", "")).value for one in requests(stand)}
        expect_equal(types, {"multipart/related" if mtom else "application/soap+xml"}, "the media type")

    def _of_fresh_ids(stand: Stand, requests: To = _requests) -> None:
        ids = [one.header("MessageID") for one in _messages(requests(stand))]
        expect(all(ids) and len(ids) == len(set(ids)), f"the MessageIDs are {ids[:3]}")

    def _understood(stand: Stand, requests: To = _requests) -> None:
        for one in _messages(requests(stand)):
            (action,) = _all(one, "s:Header/a:Action")
            value = action.get(f"{{{NAMES['s']}}}mustUnderstand")
            expect(value in ("1", "true"), f"wsa:Action has mustUnderstand={value!r}")

    def _addressed(stand: Stand, requests: To = _requests) -> None:
        for request, one in zip(requests(stand), _messages(requests(stand)), strict=True):
            expect(one.header("To").endswith(request.path), f"wsa:To is {one.header('To')!r}")

    def _without_error(stand: Stand, requests: To = _requests) -> None:
        for request in requests(stand):
            errors = [
                f"{one.id} {one.wrong}"
                for one in judge(request.octets(), "request").findings
                if one.severity is Severity.ERROR
            ]
            expect(not errors, "; ".join(errors))

    _rows: tuple[tuple[str, str, Ask], ...] = (
        ("ITI TF-2 V.3.2.2", f"{_name} has its wsa:Action", _is_sent),
        (
            "ITI TF-2 V.3.6",
            f"{_name} is sent in its encoding, {'MTOM' if _mtom else 'SIMPLE'}",
            _in_its_encoding,
        ),
        (
            "WS-Addressing 1.0 Core 3.2",
            f"{_name} has a MessageID that no other message has",
            _of_fresh_ids,
        ),
        ("ITI TF-2 V.3.2.2", f"wsa:Action of {_name} must be understood", _understood),
        ("WS-Addressing 1.0 Core 3.2", f"wsa:To of {_name} is where it is sent", _addressed),
        ("ITI TF-2 V.3", f"{_name} has no error that the validator finds", _without_error),
    )
    for _row, (_clause, _purpose, _ask) in enumerate(_rows, 1):
        PLAN.add(f"CON-{_number}-0{_row}", _clause, _purpose, _ask)


# --- ITI-18 --------------------------------------------------------------------------------------------


@PLAN.requires("CON-18-101", _QUERY)
def _(stand: Stand) -> None:
    """Queries are stored queries that the standard defines."""
    ids = {
        str(one.get("id"))
        for message in _messages(to_registry(stand))
        for one in _all(message, "//rim:AdhocQuery")
    }
    expect(ids and ids <= set(IDS), f"the queries are {ids}")


@PLAN.requires("CON-18-102", "ITI TF-2 3.18.4.1.2.3.5")
def _(stand: Stand) -> None:
    """The patient id is one CX between single quotes."""
    right = f"'{peers(stand).world.patient_id}'"
    for parameters in _searches(stand):
        values = next(value for name, value in parameters.items() if name.lower().endswith("patientid"))
        expect_equal(values, [right], "the patient id")


@PLAN.requires("CON-18-103", "ITI TF-2 3.18.4.1.2.3.7.1")
def _(stand: Stand) -> None:
    """A query by patient asks for a status, by full URNs in a list."""
    for parameters in _searches(stand):
        statuses = [
            value for name, values in parameters.items() if name.endswith("Status") for value in values
        ]
        expect(statuses, "no status is asked for")
        wrong = [
            one
            for one in statuses
            if not re.fullmatch(
                r"\((?:'urn:oasis:names:tc:ebxml-regrep:StatusType:(?:Approved|Deprecated)'(?:,\s*)?)+\)", one
            )
        ]
        expect(not wrong, f"the status is {wrong}")


@PLAN.requires("CON-18-104", "ITI TF-2 3.18.4.1.2.3.1")
def _(stand: Stand) -> None:
    """returnType is LeafClass or ObjectRef, and composed objects are asked for."""
    for message in _messages(to_registry(stand)):
        (option,) = _all(message, "//query:ResponseOption")
        expect(
            option.get("returnType") in ("LeafClass", "ObjectRef"),
            f"returnType is {option.get('returnType')!r}",
        )
        expect_equal(option.get("returnComposedObjects"), "true", "returnComposedObjects")


@PLAN.requires("CON-18-105", "ITI TF-2 3.18.4.1.2.3.4")
def _(stand: Stand) -> None:
    """Codes are asked for with their scheme, in a list."""
    for parameters in _searches(stand):
        for name, values in parameters.items():
            if name.endswith(("Code", "CodeList")):
                wrong = [value for value in values if not _CODE.fullmatch(value)]
                expect(not wrong, f"${name} is {wrong}")


@PLAN.requires("CON-18-106", _QUERY)
def _(stand: Stand) -> None:
    """What is registered is told as found."""
    ours = peers(stand)
    ours.play()
    expect(ours.driver.find(ours.world), "the study is not told as found")


# --- ITI-43 and RAD-69 ---------------------------------------------------------------------------------


@PLAN.requires("CON-43-101", _RETRIEVE)
def _(stand: Stand) -> None:
    """The manifest is asked for by the ids of its entry."""
    ids = {
        (_first(one, "xds:RepositoryUniqueId"), _first(one, "xds:DocumentUniqueId"))
        for message in _messages(to_repository(stand))
        for one in _all(message, "//xds:DocumentRequest")
    }
    expect_equal(ids, {(REPOSITORY, MANIFEST)}, "repositoryUniqueId and documentUniqueId")


def _first(one: Element, path: str) -> str:
    return str(one.xpath(f"string({path})", namespaces=NAMES)).strip()


def _requests_of_images(stand: Stand) -> list[Element]:
    return [one for message in _messages(to_source(stand)) for one in _all(message, "//xds:DocumentRequest")]


@PLAN.requires("CON-69-101", _IMAGES)
def _(stand: Stand) -> None:
    """Instances are asked for by their SOP Instance UIDs, each in its study and series."""
    requested = {
        (
            str(one.xpath("string(../../@studyInstanceUID)", namespaces=NAMES)),
            str(one.xpath("string(../@seriesInstanceUID)", namespaces=NAMES)),
            _first(one, "xds:DocumentUniqueId"),
        )
        for one in _requests_of_images(stand)
    }
    right = {(STUDY, series, uid) for series, uids in SERIES.items() for uid in uids}
    expect(
        requested and requested <= right,
        f"what is not in the manifest is asked for: {sorted(requested - right)[:3]}",
    )
    expect_equal(len(requested), len(right), "instances asked for")


@PLAN.requires("CON-69-102", _IMAGES)
def _(stand: Stand) -> None:
    """RepositoryUniqueId is the Retrieve Location UID of the manifest."""
    ids = {_first(one, "xds:RepositoryUniqueId") for one in _requests_of_images(stand)}
    expect_equal(ids, {LOCATION}, "RepositoryUniqueId")


@PLAN.requires("CON-69-103", _IMAGES)
def _(stand: Stand) -> None:
    """Explicit VR Little Endian is among the transfer syntaxes, and each is a UID."""
    for message in _messages(to_source(stand)):
        syntaxes = [
            str(one.text).strip()
            for one in _all(message, "//xdsi:TransferSyntaxUIDList/xdsi:TransferSyntaxUID")
        ]
        expect("1.2.840.10008.1.2.1" in syntaxes, f"the syntaxes are {syntaxes[:3]}")
        expect(
            all(re.fullmatch(r"[0-9.]{1,64}", one) for one in syntaxes), f"the syntaxes are {syntaxes[:3]}"
        )


@PLAN.requires("CON-69-104", _IMAGES)
def _(stand: Stand) -> None:
    """Every image of the study is given, as it came."""
    sent(stand)
    images = stand.shared[f"images {LOCATION}"]
    right = sorted(image.octets for image in peers(stand).world.images.values())
    expect(sorted(images) == right, f"{len(images)} images were given, of {len(right)}, or not as they came")


# --- WADO-RS -------------------------------------------------------------------------------------------


def _web_requests(stand: Stand) -> list[HttpRequest]:
    matches = [one for one in sent_to_the_web(stand) if one.path.startswith(SimulatedImagingSource.web)]
    if not matches:
        raise NotOffered("the consumer asks for nothing by WADO-RS")
    return matches


@PLAN.requires("CON-107-101", _WADO, option="WADO-RS")
def _(stand: Stand) -> None:
    """What is asked for is below the Retrieve URL of the manifest: its study, its series, its instances."""
    right = {f"/dicomweb/studies/{STUDY}"}
    right |= {f"/dicomweb/studies/{STUDY}/series/{series}" for series in SERIES}
    right |= {
        f"/dicomweb/studies/{STUDY}/series/{series}/instances/{uid}"
        for series, uids in SERIES.items()
        for uid in uids
    }
    paths = {one.path.removesuffix("/metadata") for one in _web_requests(stand)}
    expect(paths <= right, f"{sorted(paths - right)[:3]} is asked for")


@PLAN.requires("CON-107-102", "DICOM PS3.18 8.7.5", option="WADO-RS")
def _(stand: Stand) -> None:
    """Accept names multipart/related with its type between quotes, or a single part of one instance."""
    for one in _web_requests(stand):
        accept = one.headers.get("accept", "")
        single = "/instances/" in one.path and "application/dicom" in accept
        expect(
            'multipart/related; type="application/dicom' in accept.replace(";type", "; type") or single,
            f"Accept is {accept!r}",
        )


@PLAN.requires("CON-107-103", _WADO, option="WADO-RS")
def _(stand: Stand) -> None:
    """Every image of the study is given, as it came."""
    _web_requests(stand)
    right = sorted(image.octets for image in peers(stand).world.images.values())
    expect(sorted(stand.shared["images "]) == right, "an image is not given, or not as it came")


@PLAN.requires("CON-107-104", "DICOM PS3.15 E", option="WADO-RS")
def _(stand: Stand) -> None:
    """No address says who the patient is."""
    number = peers(stand).world.patient
    expect(
        not [one for one in sent_to_the_web(stand) if number in one.target], "an address names the patient"
    )


# --- ITI-40 --------------------------------------------------------------------------------------------


def _with_user(stand: Stand) -> list[str]:
    """The assertions by which the consumer was made to act."""
    voice = peers(stand).voice
    if not (assertion := voice()):
        raise NotOffered("no user asks: neither an assertion nor its provider was given")
    return voice.texts or [assertion]


for _number, _name, _requests in (place[:3] for place in _PLACES):

    def _carries(stand: Stand, requests: To = _requests) -> None:
        right = {value for text in _with_user(stand) for value in _SIGNATURE.findall(text)}
        for one in _messages(requests(stand)):
            values = [
                str(each.text)
                for each in _all(
                    one, "s:Header/*/*[local-name()='Assertion']//*[local-name()='SignatureValue']"
                )
            ]
            expect(
                len(values) == 1 and set(values) <= right,
                f"{len(values)} assertions are in the Security header, or another than the user's",
            )

    PLAN.add(
        f"CON-40-1{_number}",
        _XUA,
        f"{_name} has the user's own assertion, and no other",
        _carries,
        option="XUA",
    )


@PLAN.requires("CON-40-107", "ITI TF-2 3.72.4.1", option="WADO-RS")
def _(stand: Stand) -> None:
    """WADO-RS has the user's assertion as a bearer token."""
    _with_user(stand)
    for one in _web_requests(stand):
        expect(
            one.headers.get("authorization", "").startswith("Bearer "), "there is no Authorization: Bearer"
        )


# --- ITI-20 --------------------------------------------------------------------------------------------


def _records(stand: Stand, code: str) -> list[bytes]:
    syslog = peers(stand).syslog
    if syslog is None:
        raise NotOffered("no port was given at which the consumer reports (--peers-syslog)")
    sent(stand)
    mark = f'csd-code="{code}"'.encode()
    # A consumer may send its records some seconds later.
    records = stand.until(lambda: [one for one in syslog.records if mark in one])
    expect(records, f"no record of {code} came")
    return records or []


for _number, _name, _code_of_event in (
    ("18", "ITI-18", "ITI-18"),
    ("43", "ITI-43", "ITI-43"),
    ("69", "RAD-69", "RAD-69"),
):

    def _recorded(stand: Stand, code: str = _code_of_event) -> None:
        for record in _records(stand, code):
            errors = [
                f"{one.id} {one.wrong}"
                for one in judge(b"%d %s" % (len(record), record), "record").findings
                if one.severity is Severity.ERROR
            ]
            expect(not errors, "; ".join(errors))

    PLAN.add(f"CON-20-1{_number}", _AUDIT, f"{_name} is recorded, and the record has no error", _recorded)


@PLAN.requires("CON-20-201", "RFC 5425 4.3")
def _(stand: Stand) -> None:
    """Records come in frames with their lengths."""
    _records(stand, "ITI-18")
    ours = peers(stand)
    expect(ours.syslog is not None and not ours.syslog.broken, "what is no frame came")


# --- what is not as it should be -----------------------------------------------------------------------


def _not_given(ours: Peers, what: str, *, most: int = 0) -> None:
    images = ours.driver.fetch(ours.world)
    expect(len(images) <= most, f"{what}: {len(images)} images were given")


def _wrongly(what: str, *, most: int = 0, finds: bool = True, **scripts: str) -> Callable[[Stand], None]:
    """Peers play by scripts: no more than `most` images are given, and afterwards all of them are."""

    def ask(stand: Stand) -> None:
        ours = peers(stand)
        ours.play(**scripts)
        try:
            if not finds:
                expect(not ours.driver.find(ours.world), f"{what}: the study is told as found")
            _not_given(ours, what, most=most)
        finally:
            ours.play()
        expect_equal(len(ours.driver.fetch(ours.world)), len(ours.world.images), "images given afterwards")

    return ask


_WRONG: tuple[tuple[str, str, Callable[[Stand], None]], ...] = (
    ("ITI TF-3 4.2.3.2.9", "a manifest whose hash is another is not used", _wrongly("another hash", repository="other-bytes")),
    (_RETRIEVE, "another document than the one that was asked for is not used", _wrongly("another document", repository="other-document")),
    (_RETRIEVE, "a document under another id is not used", _wrongly("another id", repository="other-id")),
    (_RETRIEVE, "a manifest whose part does not come is not used", _wrongly("no part", repository="part-lost")),
    (_RETRIEVE, "a Success without a document is no success", _wrongly("no document", repository="nothing")),
    (_RETRIEVE, "a web page is no manifest", _wrongly("a web page", repository="no-dicom")),
    (_RETRIEVE, "a manifest that breaks off is not used", _wrongly("broken off", repository="truncated")),
    (_RETRIEVE, "a manifest of half the length is not used", _wrongly("half of it", repository="too-short")),
    (_IMAGES, "an instance with another SOP Instance UID is not given", _wrongly("another instance", imaging_source="other-document")),
    (_IMAGES, "an instance under another id is not given", _wrongly("another id", imaging_source="other-id")),
    (_IMAGES, "an instance whose part does not come is not given", _wrongly("no part", most=2, imaging_source="part-lost")),
    (_IMAGES, "an instance that is left out is not given", _wrongly("left out", most=2, imaging_source="one-missing")),
    (_IMAGES, "a web page is no instance", _wrongly("a web page", imaging_source="no-dicom")),
    (_IMAGES, "an instance that breaks off is not given", _wrongly("broken off", most=2, imaging_source="truncated")),
    (_IMAGES, "HTTP 500 gives no instance", _wrongly("HTTP 500", imaging_source="error")),
    (_IMAGES, "a connection that ends gives no instance", _wrongly("closed", imaging_source="closed")),
    (_QUERY, "a web page tells of no study", _wrongly("a web page", finds=False, registry="no-xml")),
    (_QUERY, "HTTP 503 tells of no study", _wrongly("HTTP 503", finds=False, registry="busy")),
    (_QUERY, "an answer that breaks off tells of no study", _wrongly("broken off", finds=False, registry="truncated")),
    ("SOAP 1.2 Part 1 5", "an answer with a document type declaration tells of no study, and is not expanded", _wrongly("a DOCTYPE", finds=False, registry="bomb")),
    ("WS-Addressing 1.0 Core 3.4", "an answer that relates to nothing tells of no study", _wrongly("no RelatesTo", finds=False, registry="no-relates-to")),
)  # fmt: skip
for _row, (_clause, _purpose, _ask) in enumerate(_WRONG, 1):
    PLAN.add(f"CON-ERR-1{_row:02}", _clause, _purpose, _ask)


@PLAN.requires("CON-ERR-201", "IHE RAD TF-3 5.1", option="Patient Check")
def _(stand: Stand) -> None:
    """An instance of another patient than the manifest's is not given."""
    _wrongly("another patient", imaging_source="other-patient")(stand)


@PLAN.requires("CON-SEC-101", "DICOM PS3.3 C.17.2.1", option="WADO-RS")
def _(stand: Stand) -> None:
    """A manifest that names a host which nobody configured opens no connection to it."""
    ours = peers(stand)
    usual, before = ours.world, len(ours.stranger.requests)
    ours.play_in(replace(usual, location="", dicomweb=f"{ours.stranger.url}/dicomweb"))
    try:
        _not_given(ours, "a host that nobody configured")
    finally:
        ours.play_in(usual)
    expect_equal(len(ours.stranger.requests), before, "requests to a host that nobody configured")


@PLAN.requires("CON-SEC-102", "RFC 9110 15.4")
def _(stand: Stand) -> None:
    """A peer that redirects elsewhere is not followed with what is said of a patient."""
    ours = peers(stand)
    for actor in ("registry", "repository", "imaging_source"):
        ours.play(**{actor: "redirects"})
        try:
            _not_given(ours, f"a {actor} that redirects")
        finally:
            ours.play()
    expect(not ours.http.asked(ELSEWHERE), "a redirection was followed")
