"""The pages of `docs/` that are printed from the code: settings, errors, and what is served.

`python -m xdsi.documents` writes them; a test fails when one does not say what the code says.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from shared.rest.openapi import openapi
from shared.rest.served import ServedRest
from shared.security.rights import DOORS, Right
from shared.security.speaker import Speaker
from xdsi.errors_page import errors_page
from xdsi.requirements_page import requirements_page
from xdsi.services import Service
from xdsi.settings_page import WRITTEN, settings_page

# What is served or initiated beside SOAP: service, transaction, name, encoding, speaker, action.
_OTHERS = (
    ("imaging-source", "RAD-18", "Creator Images Stored", "DIMSE", "node", "C-ECHO, C-STORE; AE `XDSI`"),
    (
        "imaging-source",
        "RAD-10",
        "Storage Commitment",
        "DIMSE",
        "node",
        "N-ACTION; push model, N-EVENT-REPORT",
    ),
    ("imaging-source", "RAD-14", "Query Images", "DIMSE", "node", "C-FIND; Patient and Study Root"),
    ("imaging-source", "RAD-16", "Retrieve Images", "DIMSE", "node", "C-MOVE, C-GET; Patient and Study Root"),
    (
        "imaging-source",
        "RAD-68",
        "Provide and Register Imaging Document Set",
        "MTOM, client",
        "node",
        "as ITI-41",
    ),
    ("repository", "ITI-42", "Register Document Set-b", "SIMPLE, client", "node", ""),
    ("repository", "ITI-57", "Update Document Set", "SIMPLE, client", "node", ""),
    ("repository", "ITI-61", "Register On-Demand Document Entry", "SIMPLE, client", "node", ""),
    ("consumer", "ITI-18", "Registry Stored Query", "SIMPLE, client", "user", "`POST /api/studies`"),
    (
        "consumer",
        "ITI-43",
        "Retrieve Document Set",
        "MTOM, client",
        "user",
        "`POST /api/manifests`",
    ),
    (
        "consumer",
        "ITI-83",
        "Mobile Patient Identifier Cross-reference Query",
        "FHIR, client",
        "user",
        "`pix_url` is set; take-over form, `xdsi take-over add`",
    ),
    (
        "consumer",
        "RAD-69, RAD-107",
        "Retrieve Imaging Document Set; WADO-RS Retrieve",
        "MTOM or HTTP, client",
        "user",
        "`GET /api/instances/…`",
    ),
    ("registry", "ITI-8", "Patient Identity Feed", "HL7 v2, MLLP", "node", "ADT A01 A04 A05 A08 A40"),
    (
        "imaging-source",
        "RAD-12, RAD-13, RAD-128",
        "Patient Update; Procedure Scheduled, Procedure Update; Send Imaging Result",
        "HL7 v2, MLLP",
        "node",
        "ADT A08 A31 A40 A43 A47, others do nothing; ORM^O01, OMG^O19, OMI^O23; ORU^R01, "
        "MDM (that it came); where XDSI_HL7_PORT is set",
    ),
    ("gateway", "ITI-18, ITI-43, RAD-69", "to the actors of its community", "client", "user", ""),
    ("gateway", "ITI-38, ITI-39, RAD-75", "to the gateways of other communities", "client", "user", ""),
    ("audit-repository", "ITI-20", "Record Audit Event", "syslog over TLS", "node", ""),
)
_METADATA_UPDATE = (
    "ITI-57 takes new versions of document entries and folders, changes of the status of documents, folders,",
    "memberships and relationships, and SubmitAssociation; ITI-92 new versions of document entries. Both are",
    "for nodes of the community and for administrators. Where the supplements leave it open:",
    "",
    "- The associations UpdateAvailabilityStatus and SubmitAssociation are carried out and not kept; the",
    "  HasMember of a new version is, with PreviousVersion.",
    "- What comes along with a new version joins latest versions alone; two objects that are updated by one",
    "  message are joined in their new versions. Old associations stay with old versions.",
    "- A change of status may lead to a new version, or a new association, of the same message. One may",
    "  submit associations of a new version whose AssociationPropagation is `no`.",
    "- New versions, and what changes status, are about the patient of the submission set.",
    "- `$XDSAssociationStatus` is taken by every query that returns or follows associations; without it,",
    "  Approved ones are. An old version is seen by those who may see the latest one.",
    "- ITI-92 without `lid` updates the entry that has the uniqueId, if there is one.",
)
_REGISTRY = (
    "Where the texts leave it open:",
    "",
    "- ITI-51 names at most 100 patients in one query and is recorded once for each of them. Consent is",
    "  asked for each object; what it refuses is left out.",
    "- ITI-61 answers with the action of the framework, `RegisterOnDemandDocumentResponse`; a setting",
    "  changes it, and consumers take both. On-Demand entries may share a uniqueId with each other.",
    "- ITI-62 is for nodes of the community and for administrators, lists at most 1,000 objects, and judges",
    "  what would be left. A document or folder that stays must stay in a submission set. Folders that lose",
    "  a member get a new lastUpdateTime; a replaced document stays Deprecated when its replacement goes.",
    "- ITI-44 takes one patient in a message, and one pair in a merge; demographics are not read. A message",
    "  that comes again is acknowledged as before.",
    "- Codes and media types are compared with value sets when a file names them; without one all are taken.",
)
_GATEWAY = (
    "ITI-18, ITI-43 and RAD-69 are served at `/xca/initiating` for consumers of the community, ITI-38,",
    "ITI-39 and RAD-75 at `/xca/responding` for other communities. Where the texts leave it open:",
    "",
    "- The assertion goes on unchanged; who has the document decides. The gateway keeps no copy of anything.",
    "- A query about a patient and without home goes to every community; one without patient needs a home.",
    "- A patient is asked for under the id that `XDSI_PATIENT_LINKS` names, or else under the same id.",
    "- Objects pass as they came, with `home`. Objects of another community without it are left out, and",
    "  an error says so.",
    "- A community that does not answer in time is XDSUnavailableCommunity beside what the others answer.",
    "- Errors that the Initiating Gateway raises itself are located at the document, those of a Responding",
    "  Gateway at its homeCommunityId, with the document in their text. Nothing is suppressed.",
    "- Documents are relayed while they come, in chunked transfer encoding; what breaks on the way breaks",
    "  the answer, visibly.",
)
_REPOSITORY = (
    "What an On-Demand entry gave is kept and registered (Persistence of Retrieved Documents) unless a",
    "setting says otherwise. Where the texts leave it open:",
    "",
    "- Of the snapshots of one entry the current one alone is Approved: new content replaces the snapshot",
    "  before (RPLC beside IsSnapshotOf). The same content is one document; when it comes back after other",
    "  content, its uniqueId is registered once more, in the place of what was between.",
    "- A snapshot that is no longer Approved, because somebody else deprecated, replaced, updated or removed",
    "  it, is left as it is, and the next one is registered without RPLC. The registry tells this by",
    "  XDSRegistryDeprecatedDocumentError or UnresolvedReferenceException; any other refusal is passed on.",
    "- Of an On-Demand entry that is no longer Approved, because it was deprecated, updated or removed,",
    "  there are no new snapshots: what it gives now is given as without persistence, that is without",
    "  NewRepositoryUniqueId.",
    "- A retrieval waits for the outcome of the snapshot before, and content that changed while it was made",
    "  is made again, so that older content never replaces newer.",
)
_NOT_YET = (
    "FHIR in XML; XCPD and PIX at the",
    "gateway, asynchronous exchange; a viewer.",
)


def conformance_page() -> str:
    """What each service serves: transaction, action and who may call."""
    lines = [
        "# Conformance statement",
        "",
        WRITTEN,
        "",
        "IHE ITI TF revision 20 and RAD TF 2023; SOAP 1.2 with WS-Addressing 1.0; MTOM/XOP where the",
        "transaction demands it. ITI-19 (mutual TLS 1.2 or later) on every socket once certificates are set,",
        "ITI-40 (SAML 2.0 bearer assertions) with every query and retrieval, ITI-20 (syslog over TLS) for",
        "every transaction below.",
        "",
        "| service | transaction | name | encoding | speaker | action |",
        "|---|---|---|---|---|---|",
    ]
    for service in Service:
        for served in _served(service):
            transaction = served.transaction
            encoding = "MTOM" if transaction.mtom else "SIMPLE"
            speaker = "user" if served.speaker is Speaker.USER else "node"
            lines.append(
                f"| {service} | {transaction.number} | {transaction.name} | {encoding} | {speaker} "
                f"| `{transaction.action}` |"
            )
        for rest in served_rest(service):
            if rest.number:
                speaker = "user" if rest.speaker is Speaker.USER else "node"
                routes = ", ".join(f"`{route}`" for route in rest.routes)
                lines.append(f"| {service} | {rest.number} | {rest.name} | HTTP | {speaker} | {routes} |")
    lines += [f"| {' | '.join(row)} |" for row in _OTHERS]
    lines += ["", "## Which node may do what", "", *_rights()]
    lines += ["", "## Metadata Update", "", *_METADATA_UPDATE]
    lines += ["", "## The registry", "", *_REGISTRY]
    lines += ["", "## The gateway", "", *_GATEWAY]
    lines += ["", "## The repository", "", *_REPOSITORY]
    lines += ["", "## Not yet", "", *_NOT_YET]
    return "\n".join(lines) + "\n"


def _rights() -> Iterator[str]:
    """Every door, by the right that it needs."""
    needs = doors()
    yield "Nodes of the community have every right; others those for which the setting names them."
    yield ""
    yield "| right | needed for | further nodes are named in |"
    yield "|---|---|---|"
    for right in Right:
        doors_of_right = ", ".join(
            f"`{door}`" if " /" in door else door for door, needed in needs.items() if needed is right
        )
        yield f"| {right} | {doors_of_right} | `{right.setting}` |"


def _served(service: Service) -> tuple[Any, ...]:
    module = importlib.import_module(f"{service.package}.transactions")
    transactions: tuple[Any, ...] = getattr(module, "SERVED", ())
    return transactions


def doors() -> dict[str, Right]:
    """The right that each door needs: the table of `shared.security.rights`, and what is served over REST."""
    served = [one for service in Service for one in served_rest(service)]
    of_rest = {one.door(route): one.right for one in served for route in one.routes if one.right}
    return {**DOORS, **of_rest}


def served_rest(service: Service) -> tuple[ServedRest[Any, Any], ...]:
    """What a service serves over REST."""
    rooms = {
        Service.IMAGING_SOURCE: ("transactions", "pages"),
        Service.CONSUMER: ("api", "front", "pages"),
        Service.AUDIT_REPOSITORY: ("transactions", "pages"),
        Service.IDENTITY: ("transactions", "pages"),
        Service.CONFORMANCE: ("api", "pages"),
    }
    modules = [
        importlib.import_module(f"{service.package}.{room}") for room in rooms.get(service, ("transactions",))
    ]
    return tuple(one for module in modules for one in getattr(module, "SERVED_REST", ()))


def openapi_page(service: Service) -> str:
    """What a service serves over REST, as OpenAPI describes it."""
    return json.dumps(openapi(f"xdsi {service}", served_rest(service)), indent=1, ensure_ascii=False) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "conformance-statement.md": conformance_page,
    "errors.md": errors_page,
    "conformance-requirements.md": requirements_page,
    **{
        f"openapi-{service}.json": partial(openapi_page, service)
        for service in Service
        if served_rest(service)
    },
}


def main() -> None:
    """Write every page."""
    folder = Path(__file__).resolve().parents[1] / "docs"
    for name, page in PAGES.items():
        (folder / name).write_text(page(), "utf-8")
        sys.stdout.write(f"docs/{name}\n")


if __name__ == "__main__":
    main()
