"""Reading one registry object of ebRIM, attribute by attribute, noting everything that is wrong with it.

The reader knows how attributes are carried (Slot, Classification, ExternalIdentifier, Name; ITI TF-3
4.2.3.1); `decoder` knows which attributes an object has. Tolerances are listed in `codec`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from shared.ebrim import schemes
from shared.ebrim.findings import Findings, ValueForm, shown
from shared.ebrim.identifiers import (
    WHITE_SPACE,
    is_coded_string,
    is_dtm,
    is_symbolic,
    is_uuid,
    is_xcn,
    is_xon,
    is_xtn,
)
from shared.ebrim.model import Author, AvailabilityStatus, Code, LocalizedText, Slot, Timestamp
from shared.xml import Element, qname

MAX_SLOTS = 200
MAX_SLOT_VALUES = 1_000
MAX_VALUE = 256
MAX_TEXT = 65_536
#: LocalizedStrings in a title or in comments.
MAX_LANGUAGES = 32

SLOT = qname("rim:Slot")
VALUE_LIST = qname("rim:ValueList")
VALUE = qname("rim:Value")
NAME = qname("rim:Name")
DESCRIPTION = qname("rim:Description")
LOCALIZED_STRING = qname("rim:LocalizedString")
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
#: `xs:language`, by which a fragment must stay valid.
_IS_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*").fullmatch
VERSION_INFO = qname("rim:VersionInfo")
CLASSIFICATION = qname("rim:Classification")
EXTERNAL_IDENTIFIER = qname("rim:ExternalIdentifier")


UUID = ValueForm(is_uuid, "urn:uuid: with a UUID in lower case")
DTM = ValueForm(is_dtm, "a moment of the form YYYY[MM[DD[hh[mm[ss]]]]]")
XCN = ValueForm(is_xcn, "a person of the form id^family^given^^^^^^&OID&ISO")
XON = ValueForm(is_xon, "an organisation of the form name^^^^^&OID&ISO^^^^id")
XTN = ValueForm(
    is_xtn, "an address of the form ^^Internet^user@host, or equipment in part 3 and number in part 7"
)
CODED_STRING = ValueForm(is_coded_string, "a plain string or code^^^&OID&ISO")
ANY = ValueForm(bool, "a value")


class ObjectReader:
    """One object: its parts are sorted once, and taken by the names of its attributes.

    What is not taken is extra metadata, or an error. `unusable` says that the object has no identity.
    """

    __slots__ = (
        "_classifications",
        "_description",
        "_element",
        "_identifiers",
        "_name",
        "_place",
        "_slots",
        "_version",
        "findings",
        "id",
        "nodes",
        "unusable",
    )

    def __init__(self, element: Element, findings: Findings) -> None:
        self.findings = findings
        self.unusable = False
        self._element = element
        self._name: Element | None = None
        self._description: Element | None = None
        self._version: Element | None = None
        self._classifications: dict[str, list[Element]] = {}
        self._identifiers: dict[str, list[str]] = {}
        self.nodes: list[str] = []
        self.id = self._own_id()
        # Errors are many and an id may be megabytes.
        self._place = self.id[:MAX_VALUE] or str(element.tag).rpartition("}")[2]
        self._slots = self._sort()

    # --- notes -----------------------------------------------------------------------------------

    def wrong(self, attribute: str, text: str) -> None:
        """Note that `attribute` of this object is wrong."""
        self.findings.wrong(f"{self._place}/{attribute}", text)

    def missing(self, attribute: str, give: str, *, identity: bool = False) -> None:
        """Note that `attribute` is absent; `give` says how it is given."""
        self.findings.incomplete = True
        self.unusable = self.unusable or identity
        self.wrong(attribute, f"{attribute} is missing; give {give}")

    def oversized(self, attribute: str, limit: str) -> None:
        """Note that `attribute` exceeds `limit`."""
        self.findings.oversized(f"{self._place}/{attribute}", f"{attribute} exceeds {limit}")

    def _strictly(self, attribute: str, value: str, form: ValueForm) -> str:
        if self.findings.submitted and not form.check(value):
            self.wrong(attribute, f"{attribute} {shown(value)} is not {form.words}")
        return value

    def _all_strictly(self, attribute: str, values: tuple[str, ...], form: ValueForm) -> tuple[str, ...]:
        if self.findings.submitted:
            for value in values:
                self._strictly(attribute, value, form)
        return values

    # --- sorting ---------------------------------------------------------------------------------

    def _own_id(self) -> str:
        object_id = self._element.get("id", "").strip(WHITE_SPACE)
        if object_id:
            self.findings.identified(object_id)
        return object_id

    def _sort(self) -> dict[str, tuple[str, ...]]:
        slots: list[tuple[str, tuple[str, ...]]] = []
        for part in self._element:
            tag = part.tag
            if tag == SLOT:
                slots.append(read_slot(part))
            elif tag == CLASSIFICATION:
                self._sort_classification(part)
            elif tag == EXTERNAL_IDENTIFIER:
                self._sort_identifier(part)
            elif tag == NAME:
                self._name = part
            elif tag == DESCRIPTION:
                self._description = part
            elif tag == VERSION_INFO:
                self._version = part
        return self._by_name(slots)

    def _by_name(self, slots: list[tuple[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
        if self.findings.submitted:
            if len(slots) > MAX_SLOTS:
                self.oversized("Slot", f"{MAX_SLOTS} Slots in an object; there are {len(slots)}")
            for name, values in slots:
                self._within_limits(name, values)
        by_name: dict[str, tuple[str, ...]] = {}
        for name, values in slots:
            if name in by_name:
                self.wrong(name, f"the Slot {shown(name)} appears twice; put all values into one")
            elif values:
                by_name[name] = values
        return by_name

    def _within_limits(self, name: str, values: tuple[str, ...]) -> None:
        if not name or len(name) > MAX_VALUE:
            self.wrong("Slot", f"the Slot name {shown(name)!r} needs 1 to {MAX_VALUE} characters")
        if len(values) > MAX_SLOT_VALUES:
            self.oversized(shown(name), f"{MAX_SLOT_VALUES} values in a Slot; there are {len(values)}")
        if any(len(value) > MAX_VALUE for value in values):
            self.oversized(shown(name), f"the {MAX_VALUE} characters of the schema for one value")

    def _sort_classification(self, part: Element) -> None:
        scheme, node = part.get("classificationScheme"), part.get("classificationNode")
        self._nested(part, "classifiedObject")
        if node and not scheme:
            self.nodes.append(node.strip(WHITE_SPACE))
        elif scheme and not node:
            self._classifications.setdefault(scheme.strip(WHITE_SPACE), []).append(part)
        elif self.findings.submitted:
            self.wrong(
                "Classification",
                "a Classification has either a classificationScheme or a classificationNode, and not both",
            )

    def _sort_identifier(self, part: Element) -> None:
        scheme = part.get("identificationScheme", "").strip(WHITE_SPACE)
        self._nested(part, "registryObject")
        self._identifiers.setdefault(scheme, []).append(part.get("value", ""))

    def _nested(self, part: Element, reference: str) -> None:
        if not self.findings.submitted:
            return
        if part_id := part.get("id", "").strip(WHITE_SPACE):
            self.findings.identified(part_id)
        parent = part.get(reference, "").strip(WHITE_SPACE)
        if parent != self.id:
            self.wrong(reference, f"{reference} is {shown(parent)!r} where the object is {shown(self.id)!r}")

    # --- identity --------------------------------------------------------------------------------

    def entry_uuid(self) -> str:
        """`@id`: a UUID, or symbolic in a submission."""
        if not self.id:
            self.missing("entryUUID", "the attribute id", identity=True)
        elif len(self.id) > MAX_VALUE:
            self.oversized("entryUUID", f"{MAX_VALUE} characters")
        elif not is_symbolic(self.id):
            self._strictly("entryUUID", self.id, UUID)
        return self.id

    def logical_id(self) -> str:
        """`@lid`: the object's own id, or another UUID, which belongs to Metadata Update."""
        lid = self._element.get("lid", "").strip(WHITE_SPACE)
        if lid and lid != self.id:
            self._strictly("logicalID", lid, UUID)
        return lid

    def home_community_id(self) -> str:
        """`@home`, as sent: never an error."""
        return self._element.get("home", "").strip(WHITE_SPACE)

    def status(self) -> AvailabilityStatus:
        """`@status` of an answer; in a submission it is ignored, for the registry sets it."""
        status = self._element.get("status", "").strip(WHITE_SPACE)
        if self.findings.submitted:
            return AvailabilityStatus.APPROVED
        if status not in list(AvailabilityStatus):
            self.wrong(
                "availabilityStatus", f"availabilityStatus {shown(status)!r} is unknown; read as Approved"
            )
            return AvailabilityStatus.APPROVED
        return AvailabilityStatus(status)

    def version(self) -> int:
        """`VersionInfo/@versionName`; 1 without it, and for the schema's default 1.1."""
        if self._version is None:
            return 1
        version = self._version.get("versionName", "1.1").strip(WHITE_SPACE)
        if version == "1.1":
            return 1
        if version.isascii() and version.isdigit() and len(version) <= 9:
            return int(version)
        self.wrong("version", f"version {shown(version)!r} is not a number of at most 9 digits")
        return 1

    def attribute(self, name: str, attribute: str, form: ValueForm = ANY) -> str:
        """A required XML attribute."""
        value = self._element.get(name, "").strip(WHITE_SPACE)
        if not value:
            self.missing(attribute, f"the attribute {name}")
            return ""
        return self._strictly(attribute, value, form)

    # --- texts -----------------------------------------------------------------------------------

    def title(self, limit: int) -> str:
        """`Name`, at most `limit` characters."""
        return self._text("title", self._name, limit)

    def comments(self) -> str:
        """`Description`."""
        return self._text("comments", self._description, MAX_TEXT)

    def _text(self, attribute: str, part: Element | None, limit: int) -> str:
        strings = [] if part is None else in_languages(part)
        if self.findings.submitted:
            if len(strings) > MAX_LANGUAGES:
                self.oversized(attribute, f"{MAX_LANGUAGES} LocalizedStrings; there are {len(strings)}")
            if any(len(text) > limit for _, text in strings):
                self.oversized(attribute, f"{limit} characters")
        if not strings:
            return ""
        # Nearly always there is one, of no language.
        return strings[0][1] if strings == [("", strings[0][1])] else LocalizedText(*strings)

    # --- slots -----------------------------------------------------------------------------------

    def slot_values(self, name: str, form: ValueForm = ANY) -> tuple[str, ...]:
        """The values of an attribute that may have several; blank ones count as absent."""
        values = present(self._slots.pop(name, ()))
        return self._all_strictly(name, values, form)

    def slot(self, name: str, form: ValueForm = ANY, *, required: bool = False) -> str:
        """The value of an attribute that has one; empty when it is absent."""
        values = self.slot_values(name, form)
        if len(values) > 1:
            self.wrong(name, f"{name} has {len(values)} values; give one")
        if not values and required:
            self.missing(name, f"one value in the Slot {name}")
        return values[0] if values else ""

    def moment(self, name: str, *, required: bool = False) -> Timestamp | None:
        """The value of an attribute that is a time; None when it is absent or cannot be read."""
        value = self.slot(name, DTM, required=required)
        if not value:
            return None
        if DTM.check(value):
            return Timestamp(value)
        if not self.findings.submitted:
            self.wrong(name, f"{name} {shown(value)} is not {DTM.words}; read as absent")
        self.findings.incomplete = self.findings.incomplete or required
        return None

    def extra_slots(self, allowed: frozenset[str] = frozenset()) -> tuple[Slot, ...]:
        """What has not been taken, in order: extra metadata, whose names are `urn:` and not of IHE."""
        if self.findings.submitted:
            for name in self._slots:
                if name not in allowed and (name.startswith("urn:ihe:") or not name.startswith("urn:")):
                    self.wrong(
                        shown(name),
                        f"the Slot {shown(name)} is no attribute of this object;"
                        " extra metadata has a name that starts with urn: and not with urn:ihe:",
                    )
        return tuple(Slot(name, values) for name, values in self._slots.items())

    # --- identifiers -----------------------------------------------------------------------------

    def identifier(self, scheme: str, attribute: str, form: ValueForm, *, identity: bool = False) -> str:
        """The value of an attribute that is an ExternalIdentifier; always required."""
        values = self._identifiers.pop(scheme, [])
        if len(values) > 1:
            self.wrong(attribute, f"{attribute} has {len(values)} values; give one ExternalIdentifier")
        value = values[0].strip(WHITE_SPACE) if values else ""
        if not value:
            self.missing(
                attribute, f"one ExternalIdentifier with identificationScheme {scheme}", identity=identity
            )
            return ""
        if self.findings.submitted and len(value) > MAX_VALUE:
            self.oversized(attribute, f"the {MAX_VALUE} characters of the schema")
        return self._strictly(attribute, value, form)

    # --- classifications -------------------------------------------------------------------------

    def codes(self, scheme: str, attribute: str, *, required: bool = False) -> tuple[Code, ...]:
        """The values of a coded attribute."""
        classifications = self._classifications.pop(scheme, [])
        if not classifications and required:
            self.missing(attribute, f"a Classification with classificationScheme {scheme}")
        return tuple([self._code(part, attribute) for part in classifications])

    def code(self, scheme: str, attribute: str) -> Code:
        """The value of a required coded attribute that has one."""
        codes = self.codes(scheme, attribute, required=True)
        if len(codes) > 1:
            self.wrong(attribute, f"{attribute} has {len(codes)} values; give one Classification")
        return codes[0] if codes else Code("", "")

    def _code(self, part: Element, attribute: str) -> Code:
        value = part.get("nodeRepresentation", "")
        slots, display_name = self._classification_parts(part, attribute)
        coding_scheme = present(slots.pop(schemes.CODING_SCHEME, ()))
        self._drop(slots, attribute)
        if not value.strip(WHITE_SPACE):
            self.missing(attribute, "nodeRepresentation with the value of the code")
        if len(coding_scheme) != 1:
            self.missing(attribute, f"exactly one value in its Slot codingScheme, not {len(coding_scheme)}")
        if self.findings.submitted:
            if not display_name.strip(WHITE_SPACE):
                self.wrong(attribute, f"{attribute} has no display name; give Name with one LocalizedString")
            if len(value) > MAX_VALUE:
                self.oversized(attribute, f"the {MAX_VALUE} characters of the schema")
        return Code(value, coding_scheme[0] if coding_scheme else "", display_name)

    def authors(self, scheme: str) -> tuple[Author, ...]:
        """All authors, one of each Classification."""
        return tuple(self._author(part) for part in self._classifications.pop(scheme, []))

    def _author(self, part: Element) -> Author:
        slots, _ = self._classification_parts(part, "author")
        persons = self._author_values(slots, schemes.AUTHOR_PERSON, XCN)
        author = Author(
            person=persons[0] if persons else "",
            institutions=self._author_values(slots, schemes.AUTHOR_INSTITUTION, XON),
            roles=self._author_values(slots, schemes.AUTHOR_ROLE, CODED_STRING),
            specialties=self._author_values(slots, schemes.AUTHOR_SPECIALTY, CODED_STRING),
            telecommunications=self._author_values(slots, schemes.AUTHOR_TELECOMMUNICATION, XTN),
        )
        if len(persons) > 1:
            self.wrong(
                "authorPerson", f"authorPerson has {len(persons)} values; give each author a Classification"
            )
        if self.findings.submitted and not (
            author.person or author.institutions or author.telecommunications
        ):
            self.wrong("author", "an author needs authorPerson, authorInstitution or authorTelecommunication")
        self._drop(slots, "author")
        return author

    def _author_values(
        self, slots: dict[str, tuple[str, ...]], name: str, form: ValueForm
    ) -> tuple[str, ...]:
        return self._all_strictly(name, present(slots.pop(name, ())), form)

    def _classification_parts(self, part: Element, attribute: str) -> tuple[dict[str, tuple[str, ...]], str]:
        """The Slots of a Classification, and what its Name says first."""
        slots: dict[str, tuple[str, ...]] = {}
        name = ""
        for child in part:
            tag = child.tag
            if tag == SLOT:
                slot_name, values = read_slot(child)
                if slot_name in slots:
                    self.wrong(
                        attribute, f"the Slot {shown(slot_name)} appears twice; put all values into one"
                    )
                elif self.findings.submitted:
                    self._within_limits(slot_name, values)
                slots.setdefault(slot_name, values)
            elif tag == NAME:
                strings = in_languages(child)
                name = strings[0][1] if strings else ""
        return slots, name

    def _drop(self, slots: Mapping[str, tuple[str, ...]], attribute: str) -> None:
        for name in slots:
            self.findings.dropped(f"{self._place}/{attribute}", name)

    def nothing_else(self) -> None:
        """Note Classifications and ExternalIdentifiers that no attribute of this object has taken."""
        if not self.findings.submitted:
            return
        for scheme in self._classifications:
            self.wrong("Classification", f"classificationScheme {shown(scheme)} is none of this object's")
        for scheme in self._identifiers:
            self.wrong("ExternalIdentifier", f"identificationScheme {shown(scheme)} is none of this object's")
        for node in self.nodes:
            self._node_belongs(node)

    def _node_belongs(self, node: str) -> None:
        if node in schemes.LIMITED_METADATA:
            self.wrong(
                "limitedMetadata", "limited metadata is not accepted here; leave out the flag and give all"
            )
        elif node not in (schemes.SUBMISSION_SET_NODE, schemes.FOLDER_NODE):
            self.wrong("Classification", f"classificationNode {shown(node)} is unknown")


# --- pieces ------------------------------------------------------------------------------------------


def read_slot(slot: Element) -> tuple[str, tuple[str, ...]]:
    """Name and values of a `rim:Slot`, as sent."""
    name = slot.get("name", "")
    # Nearly all hold one value, which is text and nothing else, and an answer has thousands: members are
    # taken by number, for half the price of going through them.
    if len(slot) == 1 and len(listed := slot[0]) == 1 and len(only := listed[0]) == 0:
        is_value = listed.tag == VALUE_LIST and only.tag == VALUE
        return name, (only.text or "",) if is_value else ()
    values: list[str] = []
    for listed in slot:
        if listed.tag == VALUE_LIST:
            values += [raw_text(value) for value in listed if value.tag == VALUE]
    return name, tuple(values)


def raw_text(element: Element) -> str:
    """The text of `element` as sent; comments inside do not cut it short."""
    return "".join(map(str, element.itertext())) if len(element) else element.text or ""


def present(values: tuple[str, ...]) -> tuple[str, ...]:
    """`values` without white space around them, and without those that are blank."""
    if len(values) == 1:
        stripped = values[0].strip(WHITE_SPACE)
        return (stripped,) if stripped else ()
    return tuple([stripped for value in values if (stripped := value.strip(WHITE_SPACE))])


def in_languages(element: Element) -> list[tuple[str, str]]:
    """Language and text of the LocalizedStrings of a Name or Description that say something; `charset` means
    nothing, and a language that is none counts as not named.
    """
    texts: list[tuple[str, str]] = []
    for part in element:
        if part.tag == LOCALIZED_STRING and (text := part.get("value", "")):
            language = part.get(_XML_LANG, "").strip(WHITE_SPACE)
            texts.append((language if language and _IS_LANGUAGE(language) else "", text))
    return texts
