"""A simulated Document Registry (ITI-18, ITI-42): what is registered is found, and no more is done for it
than peers need."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from threading import Lock
from uuid import uuid4

from lxml import etree

from conformance.envelopes import DECLARED, NAMES, Element
from conformance.schemes import APPROVED, CODES, DEPRECATED, FAILURE, IDENTIFIERS, SUCCESS
from conformance.simulators.soap import (
    RegistryFault,
    SoapActor,
    SoapAnswer,
    SoapMessage,
    errors_xml,
)
from conformance.simulators.world import World
from conformance.stored_queries import IDS

_ENTRY, _PACKAGE, _ASSOCIATION = (
    f"{{{NAMES['rim']}}}{name}" for name in ("ExtrinsicObject", "RegistryPackage", "Association")
)
_KINDS = {_ENTRY: "DocumentEntry", _ASSOCIATION: "Association"}
_REPLACES = ("urn:ihe:iti:2007:AssociationType:RPLC", "urn:ihe:iti:2007:AssociationType:XFRM_RPLC")
_NEEDED = {
    "FindDocuments": ("XDSDocumentEntryPatientId", "XDSDocumentEntryStatus"),
    "FindSubmissionSets": ("XDSSubmissionSetPatientId", "XDSSubmissionSetStatus"),
    "FindFolders": ("XDSFolderPatientId", "XDSFolderStatus"),
    "GetAll": ("patientId", "XDSDocumentEntryStatus", "XDSSubmissionSetStatus", "XDSFolderStatus"),
    "GetDocuments": (),
    "GetAssociations": ("uuid",),
}
_REQUIRED_CODES = set(CODES["DocumentEntry"].values()) - {"author", "eventCodeList"}
_REQUIRED_SLOTS = {"creationTime", "hash", "languageCode", "repositoryUniqueId", "size", "sourcePatientId"}

Arguments = dict[str, list[str]]


class Refused(Exception):
    """A message that is answered with a Failure."""

    def __init__(self, code: str, context: str) -> None:
        super().__init__(context)
        self.fault = RegistryFault(code, context)


class SimulatedRegistry(SoapActor):
    """Holds what the world was published with, and what comes."""

    path = "/xds/registry"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._lock = Lock()
        listed = etree.fromstring(f"<all {DECLARED}>{world.objects}</all>".encode())
        self.objects: list[Element] = list(listed)

    def respond(self, message: SoapMessage) -> SoapAnswer:
        """Register, or find."""
        with self._lock:
            if message.body.tag.endswith("}SubmitObjectsRequest"):
                return self.registered(message)
            if message.body.tag.endswith("}AdhocQueryRequest"):
                return self.found(message)
        raise ValueError("neither a submission nor a query")

    # --- ITI-42 ----------------------------------------------------------------------------------------

    def registered(self, message: SoapMessage) -> SoapAnswer:
        """Register a submission as a whole."""
        submitted = list(message.body.xpath("//rim:RegistryObjectList/*", namespaces=NAMES))
        try:
            self.check(submitted)
        except Refused as refused:
            return self._response(FAILURE, [refused.fault])
        objects = [deepcopy(one) for one in submitted]
        self.give_ids(objects)
        for one in objects:
            self.take_in(one)
        self.objects += objects
        for one in objects:
            if one.get("associationType") in _REPLACES:
                self.replace(one.get("targetObject"))
        return self._response(SUCCESS, [])

    def _response(self, status: str, faults: list[RegistryFault]) -> SoapAnswer:
        return SoapAnswer(
            f'<rs:RegistryResponse status="{status}">{errors_xml(faults)}</rs:RegistryResponse>'
        )

    def check(self, submitted: list[Element]) -> None:
        """Raise `Refused` when something is missing, or known already."""
        for entry in (one for one in submitted if one.tag == _ENTRY):
            lacking = self._lacking(entry)
            if lacking:
                raise Refused("XDSRegistryMetadataError", f"{', '.join(sorted(lacking))} missing")
        for one in submitted:
            if one.tag == _PACKAGE and self.is_known(one):
                raise Refused("XDSDuplicateUniqueIdInRegistry", unique_id(one))
        ids = {one.get("id") for one in (*self.objects, *submitted)}
        for one in submitted:
            if one.get("associationType") in _REPLACES and one.get("targetObject") not in ids:
                raise Refused("UnresolvedReferenceException", one.get("targetObject", ""))

    def _lacking(self, entry: Element) -> set[str]:
        codes = {
            CODES["DocumentEntry"].get(one)
            for one in _values(entry, "rim:Classification/@classificationScheme")
        }
        identifiers = {
            IDENTIFIERS["DocumentEntry"].get(one)
            for one in _values(entry, "rim:ExternalIdentifier/@identificationScheme")
        }
        slots = set(_values(entry, "rim:Slot/@name"))
        return (
            (_REQUIRED_CODES - codes) | (_REQUIRED_SLOTS - slots) | ({"patientId", "uniqueId"} - identifiers)
        )

    def is_known(self, package: Element) -> bool:
        """Whether its uniqueId was registered."""
        return unique_id(package) in {unique_id(one) for one in self.objects if one.tag == _PACKAGE}

    def give_ids(self, objects: list[Element]) -> None:
        """UUIDs in place of symbolic ids."""
        names = {
            one.get("id"): f"urn:uuid:{uuid4()}"
            for top in objects
            for one in top.iter()
            if one.get("id") and not one.get("id").startswith("urn:uuid:")
        }
        for top in objects:
            for one in top.iter():
                for attribute, value in one.attrib.items():
                    if value in names:
                        one.set(attribute, names[value])

    def take_in(self, one: Element) -> None:
        """What the registry itself says of an object."""
        one.set("status", APPROVED)
        if one.tag == _ENTRY:
            one.set("lid", one.get("id"))

    def replace(self, target: str) -> None:
        """What becomes of an entry that is replaced."""
        for one in self.objects:
            if one.get("id") == target:
                one.set("status", DEPRECATED)

    # --- ITI-18 ----------------------------------------------------------------------------------------

    def found(self, message: SoapMessage) -> SoapAnswer:
        """Answer a query."""
        body = message.body
        query = IDS.get(str(body.xpath("string(rim:AdhocQuery/@id)", namespaces=NAMES)))
        arguments = arguments_of(body)
        try:
            if query not in _NEEDED:
                raise Refused("XDSUnknownStoredQuery", "no such query")
            for name in _NEEDED[query]:
                if name not in arguments:
                    raise Refused("XDSStoredQueryMissingParam", f"${name} is missing")
            objects = list(self.matches(query, arguments))
        except Refused as refused:
            return SoapAnswer(self._query_response(FAILURE, [self.error(refused.fault)], ""))
        return_type = str(body.xpath("string(query:ResponseOption/@returnType)", namespaces=NAMES))
        return SoapAnswer(self._query_response(SUCCESS, [], self.shown(objects, return_type)))

    def _query_response(self, status: str, faults: list[RegistryFault], objects: str) -> str:
        return (
            f'<query:AdhocQueryResponse status="{status}">{errors_xml(faults)}'
            f"<rim:RegistryObjectList>{objects}</rim:RegistryObjectList></query:AdhocQueryResponse>"
        )

    def error(self, fault: RegistryFault) -> RegistryFault:
        """An error as it is told."""
        return fault

    def shown(self, objects: list[Element], return_type: str) -> str:
        """The objects, in full or as references."""
        if return_type == "ObjectRef":
            return self.references(objects)
        return "".join(etree.tostring(one, encoding="unicode", with_tail=False) for one in objects)

    def references(self, objects: list[Element]) -> str:
        """The objects by their ids."""
        return "".join(f'<rim:ObjectRef id="{one.get("id")}"/>' for one in objects)

    def matches(self, query: str, arguments: Arguments) -> Iterator[Element]:
        """The objects that a query asks for."""
        for one in self.objects:
            match query:
                case "GetDocuments":
                    ids = arguments.get("XDSDocumentEntryUniqueId", []) + arguments.get(
                        "XDSDocumentEntryEntryUUID", []
                    )
                    if one.tag == _ENTRY and {unique_id(one), one.get("id")} & set(ids):
                        yield one
                case "GetAssociations":
                    if one.tag == _ASSOCIATION and {one.get("sourceObject"), one.get("targetObject")} & set(
                        arguments["uuid"]
                    ):
                        yield one
                case "GetAll":
                    if self.is_of_patient(one, arguments["patientId"]):
                        yield one
                case "FindDocuments":
                    if one.tag == _ENTRY and self.is_wanted(one, "XDSDocumentEntry", arguments):
                        yield one
                case "FindSubmissionSets" | "FindFolders":
                    kind = query.removeprefix("Find").removesuffix("s")
                    if kind_of(one) == kind and self.is_wanted(one, f"XDS{kind}", arguments):
                        yield one

    def is_wanted(self, one: Element, prefix: str, arguments: Arguments) -> bool:
        """Whether patient, status and codes are those that are asked for."""
        return (
            self.is_of_patient(one, arguments[f"{prefix}PatientId"])
            and self.has_status(one, arguments[f"{prefix}Status"])
            and self.has_codes(one, prefix, arguments)
        )

    def is_of_patient(self, one: Element, patients: list[str]) -> bool:
        """Whether an object is of one of the patients."""
        return identifier(one, "patientId") in patients

    def has_status(self, one: Element, statuses: list[str]) -> bool:
        """Whether an object has one of the statuses."""
        return one.get("status") in statuses

    def has_codes(self, one: Element, prefix: str, arguments: Arguments) -> bool:
        """Whether an object has one of the codes of each parameter that asks for codes."""
        for scheme, attribute in CODES[kind_of(one)].items():
            accepted = arguments.get(f"{prefix}{attribute[0].upper()}{attribute[1:]}")
            if accepted and not set(accepted) & set(codes_of(one, scheme)):
                return False
        return True


# --- reading -------------------------------------------------------------------------------------------


def _values(one: Element, path: str) -> list[str]:
    return [str(value) for value in one.xpath(path, namespaces=NAMES)]


def kind_of(one: Element) -> str:
    """DocumentEntry, SubmissionSet, Folder or Association."""
    if one.tag == _PACKAGE:
        schemes = _values(one, "rim:ExternalIdentifier/@identificationScheme")
        return (
            "SubmissionSet" if any(scheme in IDENTIFIERS["SubmissionSet"] for scheme in schemes) else "Folder"
        )
    return _KINDS.get(one.tag, "Association")


def identifier(one: Element, attribute: str) -> str:
    """`patientId` or `uniqueId` of an object; empty where it has none."""
    for scheme, name in IDENTIFIERS[kind_of(one)].items():
        if name == attribute:
            values = _values(one, f"rim:ExternalIdentifier[@identificationScheme='{scheme}']/@value")
            return values[0] if values else ""
    return ""


def unique_id(one: Element) -> str:
    """The uniqueId of an object."""
    return identifier(one, "uniqueId")


def codes_of(one: Element, scheme: str) -> list[str]:
    """The codes of one attribute, as queries name them."""
    return [
        f"{one_code.get('nodeRepresentation')}^^{_text(one_code, 'rim:Slot//rim:Value')}"
        for one_code in one.xpath(f"rim:Classification[@classificationScheme='{scheme}']", namespaces=NAMES)
    ]


def _text(one: Element, path: str) -> str:
    return str(one.xpath(f"string({path})", namespaces=NAMES))


def arguments_of(body: Element) -> Arguments:
    """The parameters of a query by their names without `$`, values without quotes and parentheses."""
    arguments: Arguments = {}
    for slot in body.xpath("rim:AdhocQuery/rim:Slot", namespaces=NAMES):
        for value in _values(slot, "rim:ValueList/rim:Value/text()"):
            listed = value.strip().removeprefix("(").removesuffix(")")
            arguments.setdefault(slot.get("name", "").lstrip("$"), []).extend(
                one.strip().strip("'").replace("''", "'") for one in listed.split(",")
            )
    return arguments
