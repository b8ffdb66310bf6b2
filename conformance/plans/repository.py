"""Document Repository: provide (ITI-41), retrieve (ITI-43) and remove (ITI-86)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from conformance.envelopes import NAMES, Envelope, included, package
from conformance.plans import soap
from conformance.plans.message import Reply
from conformance.plans.metadata import (
    CODES,
    Entry,
    Patients,
    SubmissionMessage,
    a_folder,
    a_submission,
    an_entry,
    entry_of,
    without,
)
from conformance.plans.probe import NotOffered, Plan, expect, expect_equal
from conformance.plans.stand import Stand

PLAN = Plan("repository", needs=("repository",))
PROVIDE = "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b"
RETRIEVE = "urn:ihe:iti:2007:RetrieveDocumentSet"
REMOVE = "urn:ihe:iti:2017:RemoveDocuments"
CONTENT = b"%PDF-1.4 probe\r\n--not-a-boundary\r\n\x00\xff"


def requested(*documents: tuple[str, str], home: str = "") -> str:
    """DocumentRequests of (repositoryUniqueId, uniqueId)."""
    ids = f"<xds:HomeCommunityId>{home}</xds:HomeCommunityId>" if home else ""
    return "".join(
        f"<xds:DocumentRequest>{ids}<xds:RepositoryUniqueId>{repository}</xds:RepositoryUniqueId>"
        f"<xds:DocumentUniqueId>{unique_id}</xds:DocumentUniqueId></xds:DocumentRequest>"
        for repository, unique_id in documents
    )


def retrieve(stand: Stand, *documents: tuple[str, str], actor: str = "repository") -> Reply:
    """ITI-43."""
    body = f"<xds:RetrieveDocumentSetRequest>{requested(*documents)}</xds:RetrieveDocumentSetRequest>"
    return stand.soap(actor, Envelope(action=RETRIEVE, body=body), parts={})


DOOR = soap.Door(
    "repository",
    RETRIEVE,
    "urn:ihe:iti:2007:RetrieveDocumentSetResponse",
    True,
    lambda stand: (
        "<xds:RetrieveDocumentSetRequest>"
        f"{requested(('2.999.404', stand.oid()))}</xds:RetrieveDocumentSetRequest>"
    ),
)
soap.state(PLAN, "REP", DOOR)


def bare(stand: Stand, content: bytes = CONTENT, **changes: Any) -> Entry:
    """An entry without what a repository adds, of a patient who is known."""
    slots: dict[str, tuple[str, ...]] = {"hash": (), "size": (), "repositoryUniqueId": ()}
    slots |= changes.pop("slots", {})
    return an_entry(stand, Patients(stand).usual, slots=slots, mime_type="application/pdf", **changes)


def provide(
    stand: Stand,
    submission: SubmissionMessage,
    contents: Mapping[str, bytes],
    *,
    inline: bool = False,
    parts: Mapping[str, bytes] | None = None,
) -> Reply:
    """ITI-41 of a submission with the documents `contents`, by the ids of their entries."""
    names = {id: f"document{number}@probe" for number, id in enumerate(contents, 1)}
    documents = "".join(
        f'<xds:Document id="{id}">'
        + (base64.b64encode(content).decode() if inline else included(names[id]))
        + "</xds:Document>"
        for id, content in contents.items()
    )
    body = (
        f"<xds:ProvideAndRegisterDocumentSetRequest>{submission.xml()}{documents}"
        "</xds:ProvideAndRegisterDocumentSetRequest>"
    )
    attachments = {} if inline else {names[id]: content for id, content in contents.items()}
    return stand.soap(
        "repository", Envelope(action=PROVIDE, body=body), parts=attachments if parts is None else parts
    )


def provided(stand: Stand, content: bytes = CONTENT, **changes: Any) -> Entry:
    """One document that was provided; raises `Unmet` unless that succeeds."""
    entry = bare(stand, **changes)
    provide(stand, a_submission(stand, entry), {entry.id: content}).expect_success()
    return entry


def repository_id(stand: Stand) -> str:
    """The repositoryUniqueId: as it was given, or as the repository registers it."""
    if "repository" not in stand.shared:
        stand.shared["repository"] = stand.target.repository_unique_id or _registered_id(stand)
    return str(stand.shared["repository"])


def _registered_id(stand: Stand) -> str:
    if "registry" not in stand.target.endpoints:
        raise NotOffered("neither a registry nor the repositoryUniqueId was given")
    return _slot(stand, provided(stand), "repositoryUniqueId")


def _slot(stand: Stand, entry: Entry, name: str) -> str:
    matches = entry_of(stand, entry.unique_id)
    return str(matches.xpath(f"string(rim:Slot[@name='{name}']//rim:Value)", namespaces=NAMES))


def _delivered(stand: Stand, entry: Entry) -> tuple[Reply, bytes]:
    reply = retrieve(stand, (repository_id(stand), entry.unique_id)).expect_success()
    matches = reply.all("xds:DocumentResponse/xds:Document")
    expect_equal(len(matches), 1, "the number of documents")
    return reply, reply.content_of(matches[0])


# --- ITI-41 ---------------------------------------------------------------------------------------------

_CONTENTS: tuple[tuple[str, bytes], ...] = (
    ("a document", CONTENT),
    ("a document of no bytes", b""),
    ("a document of one byte", b"\n"),
    ("a document that ends with a line end", b"text\r\n"),
    ("a document that holds what looks like a boundary", b"\r\n--part\r\n--part--\r\n"),
    ("a document of every byte", bytes(range(256)) * 16),
    ("a document of a megabyte", b"0123456789abcdef" * 65536),
)
for _number, (_name, _content) in enumerate(_CONTENTS, 1):

    def _comes_back(stand: Stand, content: bytes = _content) -> None:
        entry = provided(stand, content)
        expect(_delivered(stand, entry)[1] == content, "the document came back with other bytes")

    PLAN.add(
        f"REP-41-1{_number:02}",
        "ITI TF-2 3.41.4.1.3",
        f"{_name} comes back to the byte",
        _comes_back,
    )


@PLAN.requires("REP-41-201", "ITI TF-2 3.41.4.1.3", needs=("registry",))
def _(stand: Stand) -> None:
    """The repository registers the size of the document."""
    expect_equal(_slot(stand, provided(stand), "size"), str(len(CONTENT)), "size")


@PLAN.requires("REP-41-202", "ITI TF-2 3.41.4.1.3", needs=("registry",))
def _(stand: Stand) -> None:
    """The repository registers the SHA-1 of the document."""
    right = hashlib.sha1(CONTENT, usedforsecurity=False).hexdigest()
    expect_equal(_slot(stand, provided(stand), "hash").lower(), right, "hash")


@PLAN.requires("REP-41-203", "ITI TF-2 3.41.4.1.3", needs=("registry",))
def _(stand: Stand) -> None:
    """The repository writes its own repositoryUniqueId over another."""
    entry = provided(stand, slots={"repositoryUniqueId": ("2.999.77",)})
    expect_equal(_slot(stand, entry, "repositoryUniqueId"), repository_id(stand), "repositoryUniqueId")


@PLAN.requires("REP-41-204", "ITI TF-2 3.41.4.1.3", needs=("registry",))
def _(stand: Stand) -> None:
    """What the repository does not know it passes on."""
    entry = provided(stand, slots={"urn:probe:note": ("1",)}, title="Passed on")
    matches = entry_of(stand, entry.unique_id)
    title = str(matches.xpath("string(rim:Name/rim:LocalizedString/@value)", namespaces=NAMES))
    expect_equal(title, "Passed on", "the title")


@PLAN.requires("REP-41-211", "ITI TF-2 3.41.4.1.2")
def _(stand: Stand) -> None:
    """A document may come as base64 in the message."""
    entry = bare(stand)
    submission = a_submission(stand, entry)
    provide(stand, submission, {entry.id: CONTENT}, inline=True).expect_success()
    expect(_delivered(stand, entry)[1] == CONTENT, "the document came back with other bytes")


@PLAN.requires("REP-41-212", "ITI TF-2 3.41.4.1.2")
def _(stand: Stand) -> None:
    """Several documents come in one submission."""
    entries = [bare(stand, id=f"entry{number}") for number in range(3)]
    contents = {one.id: one.unique_id.encode() for one in entries}
    provide(stand, a_submission(stand, *entries), contents).expect_success()
    for one in entries:
        expect(_delivered(stand, one)[1] == one.unique_id.encode(), "a document came back with other bytes")


@PLAN.requires("REP-41-213", "ITI TF-2 3.41.4.1.2", needs=("registry",))
def _(stand: Stand) -> None:
    """A submission may be without documents."""
    folder = a_folder(stand, Patients(stand).usual)
    provide(stand, a_submission(stand, folders=[folder]), {}).expect_success()


@PLAN.requires("REP-41-214", "ITI TF-2 3.41.4.1.2")
def _(stand: Stand) -> None:
    """The right hash and size are accepted, in upper case too."""
    right = hashlib.sha1(CONTENT, usedforsecurity=False).hexdigest().upper()
    provided(stand, slots={"hash": (right,), "size": (str(len(CONTENT)),)})


def _refuses(errors: tuple[str, ...], **changes: Any) -> Callable[[Stand], None]:
    def ask(stand: Stand) -> None:
        entry = bare(stand, **changes)
        provide(stand, a_submission(stand, entry), {entry.id: CONTENT}).expect_failure(*errors)
        retrieve(stand, (repository_id(stand), entry.unique_id)).expect_failure("XDSDocumentUniqueIdError")

    return ask


_METADATA = ("XDSRepositoryMetadataError", "XDSRegistryMetadataError")
_REFUSED: tuple[tuple[str, tuple[str, ...], dict[str, Any]], ...] = (
        ("a wrong hash", ("XDSRepositoryMetadataError",), {"slots": {"hash": ("0" * 40,)}}),
        ("a wrong size", ("XDSRepositoryMetadataError",), {"slots": {"size": ("1",)}}),
        *(
            (f"no {name}", _METADATA, {"codes": {name: []}})
            for name in list(CODES)[:6]
        ),
        ("no creationTime", _METADATA, {"slots": {"creationTime": ()}}),
        ("no languageCode", _METADATA, {"slots": {"languageCode": ()}}),
        ("no sourcePatientId", _METADATA, {"slots": {"sourcePatientId": ()}}),
)  # fmt: skip
for _number, (_name, _codes, _changes) in enumerate(_REFUSED, 1):
    PLAN.add(
        f"REP-41-3{_number:02}",
        "ITI TF-2 3.41.4.1.3",
        f"a document with {_name} is refused, and not kept",
        _refuses(_codes, **_changes),
    )


@PLAN.requires("REP-41-321", "ITI TF-2 3.41.4.1.3")
def _(stand: Stand) -> None:
    """An entry without its document is refused with XDSMissingDocument."""
    provide(stand, a_submission(stand, bare(stand)), {}).expect_failure("XDSMissingDocument")


@PLAN.requires("REP-41-322", "ITI TF-2 3.41.4.1.3")
def _(stand: Stand) -> None:
    """A document whose part does not come is refused with XDSMissingDocument."""
    entry = bare(stand)
    reply = provide(stand, a_submission(stand, entry), {entry.id: CONTENT}, parts={})
    reply.expect_failure("XDSMissingDocument")


@PLAN.requires("REP-41-323", "ITI TF-2 3.41.4.1.3")
def _(stand: Stand) -> None:
    """A document without entry is refused with XDSMissingDocumentMetadata."""
    entry = bare(stand)
    contents = {entry.id: CONTENT, "stranger": b"?"}
    provide(stand, a_submission(stand, entry), contents).expect_failure("XDSMissingDocumentMetadata")


@PLAN.requires("REP-41-324", "ITI TF-2 3.41.4.1.3")
def _(stand: Stand) -> None:
    """Another document under a uniqueId that is stored is refused, and the first one stays."""
    first = provided(stand)
    again = bare(stand, unique_id=first.unique_id)
    reply = provide(stand, a_submission(stand, again), {again.id: CONTENT + b"!"})
    reply.expect_failure("XDSNonIdenticalHash", "XDSNonIdenticalSize")
    expect(_delivered(stand, first)[1] == CONTENT, "the first document was overwritten")


@PLAN.requires("REP-41-325", "ITI TF-2 3.41.4.1.3")
def _(stand: Stand) -> None:
    """The same document may be provided again."""
    first = provided(stand)
    again = bare(stand, unique_id=first.unique_id)
    provide(stand, a_submission(stand, again), {again.id: CONTENT}).expect_success()


@PLAN.requires("REP-41-326", "ITI TF-2 3.41.4.1.3", needs=("registry",))
def _(stand: Stand) -> None:
    """What the registry refuses comes back with the registry's code."""
    patient = stand.patient_id()
    slots: dict[str, tuple[str, ...]] = {"hash": (), "size": (), "repositoryUniqueId": ()}
    entry = an_entry(stand, patient, slots=slots)
    reply = provide(stand, a_submission(stand, entry), {entry.id: CONTENT})
    reply.expect_failure("XDSUnknownPatientId")


@PLAN.requires("REP-41-327", "ITI TF-2 3.41.4.1.3")
def _(stand: Stand) -> None:
    """A submission without SubmissionSet is refused."""
    entry = bare(stand)
    submission = a_submission(
        stand, entry, changes=[without("//rim:RegistryPackage"), without("//rim:Association")]
    )
    provide(stand, submission, {entry.id: CONTENT}).expect_failure(*_METADATA)


@PLAN.requires("REP-41-328", "ITI TF-2 V.3.6")
def _(stand: Stand) -> None:
    """The response is MTOM, if only of one part."""
    reply = provide(stand, a_submission(stand, bare(stand)), {})
    expect_equal(reply.media_type, "multipart/related", "the media type")
    expect_equal(reply.action, f"{PROVIDE}Response", "wsa:Action")


# --- ITI-43 ---------------------------------------------------------------------------------------------


@PLAN.requires("REP-43-101", "ITI TF-2 3.43.4.2.2")
def _(stand: Stand) -> None:
    """A document comes with its ids and its registered media type."""
    entry = provided(stand)
    reply, _ = _delivered(stand, entry)
    ids = {
        name: reply.text(f"//xds:DocumentResponse/xds:{name}")
        for name in ("RepositoryUniqueId", "DocumentUniqueId", "mimeType")
    }
    expect_equal(
        ids,
        {
            "RepositoryUniqueId": repository_id(stand),
            "DocumentUniqueId": entry.unique_id,
            "mimeType": "application/pdf",
        },
        "what is told of the document",
    )


@PLAN.requires("REP-43-102", "ITI TF-2 3.43.4.2.2")
def _(stand: Stand) -> None:
    """The elements of a DocumentResponse stand in the order of the schema."""
    reply, _ = _delivered(stand, provided(stand))
    order = [
        "HomeCommunityId",
        "RepositoryUniqueId",
        "DocumentUniqueId",
        "NewRepositoryUniqueId",
        "NewDocumentUniqueId",
        "mimeType",
        "Document",
    ]
    names = [str(one.tag).rpartition("}")[2] for one in reply.all("xds:DocumentResponse/*")]
    expect_equal(names, sorted(names, key=order.index), "the order")


@PLAN.requires("REP-43-103", "ITI TF-2 3.43.4.2.2")
def _(stand: Stand) -> None:
    """The document is an attachment, named by xop:Include."""
    reply, _ = _delivered(stand, provided(stand))
    expect_equal(len(reply.all("xds:DocumentResponse/xds:Document/xop:Include")), 1, "xop:Include elements")


@PLAN.requires("REP-43-104", "ITI TF-2 3.43.4.2.3")
def _(stand: Stand) -> None:
    """A document that nobody knows is a Failure with XDSDocumentUniqueIdError at its uniqueId."""
    unique_id = stand.oid()
    reply = retrieve(stand, (repository_id(stand), unique_id)).expect_failure("XDSDocumentUniqueIdError")
    expect_equal(reply.errors[0].get("location"), unique_id, "location")


@PLAN.requires("REP-43-105", "ITI TF-2 3.43.4.2.3")
def _(stand: Stand) -> None:
    """A repository that is not this one is XDSUnknownRepositoryId."""
    retrieve(stand, ("2.999.404", stand.oid())).expect_failure("XDSUnknownRepositoryId")


@PLAN.requires("REP-43-106", "ITI TF-2 3.43.4.2.3")
def _(stand: Stand) -> None:
    """What is there comes beside the error for what is not: PartialSuccess."""
    entry, unique_id = provided(stand), stand.oid()
    repository = repository_id(stand)
    reply = retrieve(stand, (repository, entry.unique_id), (repository, unique_id))
    reply.expect_partial("XDSDocumentUniqueIdError")
    expect_equal(reply.text("//xds:DocumentResponse/xds:DocumentUniqueId"), entry.unique_id, "what came")


@PLAN.requires("REP-43-107", "ITI TF-2 3.43.4.1.3")
def _(stand: Stand) -> None:
    """Several documents come in one answer."""
    entries = [provided(stand, str(number).encode()) for number in range(3)]
    repository = repository_id(stand)
    reply = retrieve(stand, *((repository, one.unique_id) for one in entries)).expect_success()
    matches = {
        reply.text(f"//xds:DocumentResponse[{number}]/xds:DocumentUniqueId"): reply.content_of(document)
        for number, document in enumerate(reply.all("xds:DocumentResponse/xds:Document"), 1)
    }
    expect_equal(matches, {one.unique_id: str(n).encode() for n, one in enumerate(entries)}, "what came")


@PLAN.requires("REP-43-108", "ITI TF-3 4.2.4.1")
def _(stand: Stand) -> None:
    """Every error has errorCode, codeContext and severity."""
    reply = retrieve(stand, (repository_id(stand), stand.oid())).expect_failure()
    for error in reply.errors:
        for name in ("errorCode", "codeContext", "severity"):
            expect(error.get(name), f"an error has no {name}")


@PLAN.requires("REP-43-109", "ITI TF-2 3.43.4.1.2")
def _(stand: Stand) -> None:
    """A request that names no document is refused."""
    body = "<xds:RetrieveDocumentSetRequest/>"
    reply = stand.soap("repository", Envelope(action=RETRIEVE, body=body), parts={})
    expect(reply.fault == "Sender" or reply.outcome == "Failure", "neither a fault nor a Failure came")


@PLAN.requires("REP-43-110", "ITI TF-2 3.43.4.1.3")
def _(stand: Stand) -> None:
    """A document that is asked for twice comes, and the answer is a Success."""
    entry = provided(stand)
    repository = repository_id(stand)
    retrieve(stand, (repository, entry.unique_id), (repository, entry.unique_id)).expect_success()


@PLAN.requires("REP-43-111", "XOP 1.0 4.1")
def _(stand: Stand) -> None:
    """A request whose package has parts that nobody names is answered."""
    entry = provided(stand)
    body = (
        "<xds:RetrieveDocumentSetRequest>"
        f"{requested((repository_id(stand), entry.unique_id))}</xds:RetrieveDocumentSetRequest>"
    )
    reply = stand.soap("repository", Envelope(action=RETRIEVE, body=body), parts={"nobody@probe": b"x"})
    reply.expect_success()


@PLAN.requires("REP-43-112", "RFC 2046 5.1.1")
def _(stand: Stand) -> None:
    """A package may have a preamble, and another order of its parameters."""
    entry = provided(stand)
    body = (
        "<xds:RetrieveDocumentSetRequest>"
        f"{requested((repository_id(stand), entry.unique_id))}</xds:RetrieveDocumentSetRequest>"
    )
    attachments = Envelope(action=RETRIEVE, body=body, security=stand.target.assertion)
    content_type, octets = package(attachments.xml(), {})
    name, *parameters = (piece.strip() for piece in content_type.split(";"))
    turned = "; ".join((name.upper(), *reversed(parameters)))
    reply = stand.post(stand.endpoint("repository"), b"preamble\r\n" + octets, turned)
    reply.expect_success()


# --- ITI-86 ---------------------------------------------------------------------------------------------


def remove(stand: Stand, *documents: tuple[str, str]) -> Reply:
    """ITI-86."""
    body = f"<rmd:RemoveDocumentsRequest>{requested(*documents)}</rmd:RemoveDocumentsRequest>"
    return stand.soap("repository", Envelope(action=REMOVE, body=body))


@PLAN.requires("REP-86-101", "ITI TF-2 3.86.4.1.3", option="Remove Documents")
def _(stand: Stand) -> None:
    """A document that was removed cannot be had any more."""
    entry = provided(stand)
    repository = repository_id(stand)
    remove(stand, (repository, entry.unique_id)).expect_success()
    retrieve(stand, (repository, entry.unique_id)).expect_failure("XDSDocumentUniqueIdError")


@PLAN.requires("REP-86-102", "ITI TF-2 3.86.4.1.3", option="Remove Documents")
def _(stand: Stand) -> None:
    """Removing what nobody knows is an error."""
    reply = remove(stand, (repository_id(stand), stand.oid()))
    reply.expect_failure("XDSDocumentUniqueIdError", "XDSRemoveDocumentsError")


@PLAN.requires("REP-86-103", "ITI TF-2 3.86.4.1.3", option="Remove Documents")
def _(stand: Stand) -> None:
    """Removing at another repository is XDSUnknownRepositoryId."""
    remove(stand, ("2.999.404", stand.oid())).expect_failure("XDSUnknownRepositoryId")
