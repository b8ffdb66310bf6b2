"""Guides: for each actor what is to be set up at a system before it can be tested, and what is to be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

DOMAIN: Final = "1.3.6.1.4.1.21367.2005.13.20.1000"


class BoxKind(StrEnum):
    """What is written into a box."""

    URL = "url"
    ADDRESS = "host:port"
    OID = "oid"
    HOME = "urn:oid"
    PEM = "pem"
    ASSERTION = "assertion"
    ENTITY = "title@host:port"


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One thing that a person tells of their system; `name` is as in `Order`, or of an endpoint."""

    name: str
    label: str
    kind: BoxKind
    hint: str
    value: str = ""
    needed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """How one actor is tested.

    `actor` is that of its probes, `about` says what is asked, `before` what is to be done at the system
    first; `options` are those that it may not claim, by the names of their boxes; one of the `boxes` that
    name endpoints is needed at least.
    """

    actor: str
    title: str
    about: str
    before: tuple[str, ...]
    boxes: tuple[Box, ...]
    options: Mapping[str, str] = field(default_factory=dict)


def _url(name: str, label: str, example: str, *, needed: bool = False, hint: str = "") -> Box:
    text = f"{hint + ' ' if hint else ''}For example {example}"
    return Box(name=name, label=label, kind=BoxKind.URL, hint=text, needed=needed)


_DOMAIN_BOX = Box(
    name="domain",
    label="Assigning authority of patient ids",
    kind=BoxKind.OID,
    hint="The OID that your system takes patient ids of.",
    value=DOMAIN,
    needed=True,
)
_FEED = Box(
    name="feed",
    label="Patient identity feed (ITI-8)",
    kind=BoxKind.ADDRESS,
    hint="host:port of HL7 v2 over MLLP. Leave it empty if documents of unknown patients are accepted.",
)
_TRUST = Box(
    name="trust",
    label="Certificate of your system, or of its authority",
    kind=BoxKind.PEM,
    hint="PEM, for addresses with https. Leave it empty if its authority is known here.",
)
_ASSERTION = Box(
    name="assertion",
    label="Assertion of a user (XUA)",
    kind=BoxKind.ASSERTION,
    hint="Signed SAML 2.0, as XML, if your system asks for one. Take one of a test user.",
)
_FRESH: Final = (
    "Have a test system ready: test patients and documents with fresh ids are stored in it, and stay there."
)
_SOAP: Final = "https://host:8443/xds"

GUIDES: Final[tuple[Guide, ...]] = (
    Guide(
        actor="registry",
        title="Document Registry",
        about="Registering, finding, replacing and removing metadata; how mistakes are refused.",
        before=(
            _FRESH,
            "Accept the assigning authority of patient ids below, or name yours.",
        ),
        boxes=(
            _url("registry", "SOAP endpoint (ITI-18, ITI-42)", f"{_SOAP}/registry", needed=True),
            _FEED,
            _DOMAIN_BOX,
            _TRUST,
            _ASSERTION,
        ),
        options={"remove_metadata": "Remove Metadata", "metadata_update": "Metadata Update"},
    ),
    Guide(
        actor="repository",
        title="Document Repository",
        about="Providing, retrieving and removing documents; hash and size; how mistakes are refused.",
        before=(
            _FRESH,
            "Accept the assigning authority of patient ids below, or name yours.",
        ),
        boxes=(
            _url("repository", "SOAP endpoint (ITI-41, ITI-43)", f"{_SOAP}/repository", needed=True),
            _url(
                "registry",
                "SOAP endpoint of its registry",
                f"{_SOAP}/registry",
                hint="There it is looked what was registered.",
            ),
            Box(
                name="repository_unique_id",
                label="repositoryUniqueId",
                kind=BoxKind.OID,
                hint="Learnt from the registry when it is empty.",
            ),
            _FEED,
            _DOMAIN_BOX,
            _TRUST,
            _ASSERTION,
        ),
        options={"remove_documents": "Remove Documents"},
    ),
    Guide(
        actor="imaging-source",
        title="Imaging Document Source",
        about="Storing a small study, finding and retrieving it by the web, DIMSE and RAD-69; its manifest.",
        before=(
            _FRESH,
            "Let images in: by STOW-RS, by C-STORE, or bring the files below in beforehand. There are six "
            "small ones, which most steps then ask for.",
            "For DIMSE, let it know our AE title and address above: to there it sends what is asked for by "
            "C-MOVE, and results of storage commitment.",
        ),
        boxes=(
            _url("source", "SOAP endpoint (RAD-69)", f"{_SOAP}/imaging-source"),
            _url("dicomweb", "Base of its DICOMweb service", "https://host:8443/dicomweb"),
            _url("wado", "Address of WADO-URI", "https://host:8443/wado"),
            Box(
                name="dimse",
                label="Its application entity (DIMSE)",
                kind=BoxKind.ENTITY,
                hint="TITLE@host:port, for example PACS@127.0.0.1:11112; by TLS with a certificate below.",
            ),
            Box(
                name="department",
                label="Messages of the department (HL7 v2)",
                kind=BoxKind.ADDRESS,
                hint="host:port of HL7 v2 over MLLP, by which it takes orders and reports.",
            ),
            Box(
                name="retrieve_location_uid",
                label="Retrieve Location UID",
                kind=BoxKind.OID,
                hint="By which RAD-69 names this source.",
            ),
            _url(
                "registry",
                "SOAP endpoint of a registry",
                f"{_SOAP}/registry",
                hint="There it is looked for the manifest that it publishes.",
            ),
            _url("repository", "SOAP endpoint of the repository that has it", f"{_SOAP}/repository"),
            _url(
                "publisher",
                "Base of this product's imaging source",
                "http://127.0.0.1:8030",
                hint="It is then told to publish. Leave it empty for any other, and publish the study once "
                "it is stored: it is waited for a minute.",
            ),
            _FEED,
            _DOMAIN_BOX,
            _TRUST,
            _ASSERTION,
        ),
        options={
            "stow_rs": "STOW-RS",
            "frames": "Frames",
            "rendered": "Rendered",
            "qido_rs": "QIDO-RS",
            "wado_uri": "WADO-URI",
            "web_commitment": "Web Commitment",
            "c_find": "C-FIND",
            "c_move": "C-MOVE",
            "c_get": "C-GET",
            "commitment": "Storage Commitment",
            "publication": "Publication",
            "department_messages": "Department Messages",
            "report_publication": "Report Publication",
            "mado": "MADO",
        },
    ),
    Guide(
        actor="gateway",
        title="Gateway",
        about="Queries and retrievals between communities (ITI-38, ITI-39, RAD-75), asked and answered.",
        before=(
            _FRESH,
            "Connect the gateway with registry, repository and imaging source of its own community.",
        ),
        boxes=(
            _url("responding", "Responding Gateway (ITI-38, ITI-39, RAD-75)", f"{_SOAP}/responding"),
            _url("initiating", "Initiating Gateway (ITI-18, ITI-43)", f"{_SOAP}/initiating"),
            Box(
                name="home",
                label="homeCommunityId",
                kind=BoxKind.HOME,
                hint="For example urn:oid:2.999.71",
                needed=True,
            ),
            _url("repository", "SOAP endpoint of a repository behind it", f"{_SOAP}/repository"),
            _url("dicomweb", "DICOMweb service of an imaging source behind it", "https://host:8443/dicomweb"),
            Box(
                name="retrieve_location_uid",
                label="Retrieve Location UID of the imaging source",
                kind=BoxKind.OID,
                hint="By which RAD-75 names it.",
            ),
            _FEED,
            _DOMAIN_BOX,
            _TRUST,
            _ASSERTION,
        ),
    ),
    Guide(
        actor="audit-repository",
        title="Audit Record Repository",
        about="Taking records by syslog (ITI-20), whatever their framing, and giving them back (ITI-81).",
        before=("Have a test system ready: records of test patients are sent to it, and stay there.",),
        boxes=(
            Box(
                name="audit",
                label="Syslog (ITI-20)",
                kind=BoxKind.ADDRESS,
                hint="host:port, over TLS when a certificate is given below.",
                needed=True,
            ),
            _url(
                "atna",
                "Base of ITI-81 (FHIR)",
                "https://host:8443/fhir",
                hint="There it is looked what was kept.",
            ),
            _url(
                "trail",
                "Base of this product's audit repository",
                "http://127.0.0.1:8050",
                hint="In place of ITI-81.",
            ),
            _TRUST,
            _ASSERTION,
        ),
    ),
    Guide(
        actor="consumer",
        title="Imaging Document Consumer",
        about="What it sends, and what it makes of answers: we play registry, repository, imaging source and "
        "audit repository.",
        before=("Let it ask, and report to, the addresses above. They answer while the test runs.",),
        boxes=(
            _url(
                "consumer",
                "Base of this product's consumer",
                "http://127.0.0.1:8040",
                hint="Leave it empty for any other: you are told what to do, and asked what came of it.",
            ),
            _url(
                "front",
                "Its DICOMweb service for viewers",
                "http://127.0.0.1:8040/dicomweb",
                hint="If it has one, over what registry and imaging source tell.",
            ),
            _url("pages", "Base of the pages of this product's consumer", "http://127.0.0.1:8040"),
            _DOMAIN_BOX,
            _ASSERTION,
        ),
        options={"wado_rs": "WADO-RS", "xua": "XUA", "patient_check": "Patient Check", "of_pages": "Pages"},
    ),
)


def guide_of(actor: str) -> Guide | None:
    """The guide of an actor; None when there is none."""
    return next((guide for guide in GUIDES if guide.actor == actor), None)
