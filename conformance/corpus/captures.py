"""A good capture of every SOAP transaction."""

from __future__ import annotations

from typing import Final

from conformance.corpus import metadata
from conformance.corpus.data_sets import part10
from conformance.corpus.manifests import manifest
from conformance.corpus.messages import (
    APPROVED,
    FIND_DOCUMENTS,
    GET_DOCUMENTS,
    HOME,
    MULTI_PATIENT,
    PARTIAL,
    acknowledgement,
    digest_of,
    document_request,
    error,
    exchange,
    feed,
    found,
    images,
    instance,
    provide,
    query,
    registry_response,
    removal,
    retrieve,
    retrieved,
)
from conformance.corpus.metadata import ENTRY, slot

ON_DEMAND: Final = "34268e47-fdf5-41a6-ba33-82133c465248"


def slots_of_find() -> tuple[str, ...]:
    """The parameters of a FindDocuments."""
    return (
        slot("$XDSDocumentEntryPatientId", f"'{metadata.PATIENT}'"),
        slot("$XDSDocumentEntryStatus", APPROVED),
        slot("$XDSDocumentEntryFormatCode", "('1.2.840.10008.5.1.4.1.1.88.59^^1.2.840.10008.2.6.1')"),
        slot("$XDSDocumentEntryServiceStartTimeFrom", "20260101"),
    )


def good_captures() -> dict[str, str]:
    """The captures by the number of their transaction."""
    kos = part10(manifest())
    digest = digest_of(kos)
    instances = {f"{uid}@x": instance(uid) for uid in ("2.25.5011", "2.25.5012")}
    at_home = metadata.entry().replace(" mimeType=", f' home="{HOME}" mimeType=')
    update = (
        metadata.submission()
        .replace(
            f'<rim:ExtrinsicObject id="{ENTRY}"', f'<rim:ExtrinsicObject id="{ENTRY}" lid="{ENTRY[:-1]}9"'
        )
        .replace(
            slot("SubmissionSetStatus", "Original"),
            slot("SubmissionSetStatus", "Original") + slot("PreviousVersion", "1"),
        )
    )
    on_demand = metadata.submission().replace("7edca82f-054d-47f2-a032-9b2a5b5186c1", ON_DEMAND)
    for name, value in (
        ("creationTime", "20260301091500"),
        ("hash", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("size", "0"),
    ):
        on_demand = on_demand.replace(slot(name, value), "")
    many = query(
        MULTI_PATIENT,
        slot("$XDSDocumentEntryPatientId", f"('{metadata.PATIENT}','{metadata.OTHER_PATIENT}')"),
        slot("$XDSDocumentEntryStatus", APPROVED),
    )
    removed = (
        f'<m:RemoveDocumentsRequest xmlns:m="urn:ihe:iti:rmd:2017">{document_request("2.25.1001", "")}'
        "</m:RemoveDocumentsRequest>"
    )
    return {
        "ITI-18": exchange("ITI-18", query(FIND_DOCUMENTS, *slots_of_find()), found(metadata.entry())),
        "ITI-38": exchange(
            "ITI-38",
            query(GET_DOCUMENTS, slot("$XDSDocumentEntryEntryUUID", f"('{ENTRY}')"), home=HOME),
            found(at_home),
        ),
        "ITI-39": exchange(
            "ITI-39", retrieve(home=HOME), retrieved(HOME, "2.25.1001"), {}, {"2.25.1001@x": kos}
        ),
        "ITI-41": exchange("ITI-41", provide(kos, digest), registry_response(), {"d1@x": kos}),
        "ITI-42": exchange("ITI-42", metadata.submission(), registry_response()),
        "ITI-43": exchange(
            "ITI-43",
            retrieve("RetrieveDocumentSetRequest", "", "2.25.1001", "2.25.1002"),
            retrieved(
                "",
                "2.25.1001",
                status=PARTIAL,
                errors=error("XDSDocumentUniqueIdError", "2.25.1002"),
            ),
            {},
            {"2.25.1001@x": kos},
        ),
        "ITI-44": exchange("ITI-44", feed(), acknowledgement()),
        "ITI-51": exchange("ITI-51", many, found(f'<rim:ObjectRef id="{ENTRY}"/>')),
        "ITI-57": exchange("ITI-57", update, registry_response()),
        "ITI-61": exchange("ITI-61", on_demand, registry_response()),
        "ITI-62": exchange("ITI-62", removal(ENTRY), registry_response()),
        "ITI-86": exchange("ITI-86", removed, registry_response()),
        "ITI-92": exchange("ITI-92", update, registry_response()),
        "RAD-69": exchange("RAD-69", images(), retrieved("", "2.25.5011", "2.25.5012"), {}, dict(instances)),
        "RAD-75": exchange(
            "RAD-75", images(HOME), retrieved(HOME, "2.25.5011", "2.25.5012"), {}, dict(instances)
        ),
    }
