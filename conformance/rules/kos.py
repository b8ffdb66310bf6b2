"""Key Object Selection Documents as imaging manifests (PS3.3 C.17.6, PS3.16 TID 2010, RAD TF-3 4.68)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import urlsplit

from conformance.codes import KEY_OBJECT_SELECTION, REJECTIONS, TEMPORARY_TITLE, TITLES, value_types
from conformance.findings import Finding
from conformance.readers.dicom import Item
from conformance.requirements import finding
from conformance.rules.dicom import UID
from conformance.tags import name

_TITLE_MODIFIED: Final = frozenset({"113001", "113010", "113013"})
_REFERENCES: Final = frozenset({"IMAGE", "COMPOSITE", "WAVEFORM"})
_CONTEXT: Final = frozenset({"HAS CONCEPT MOD", "HAS OBS CONTEXT"})
_RETRIEVE: Final = (0x00080054, 0x0040E011, 0x00081190)


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value as it stands in a sequence; empty where there is none."""

    value: str
    scheme: str
    meaning: str

    @classmethod
    def of(cls, item: Item, sequence: int) -> Code:
        """The code of the first item of a sequence."""
        first = next(iter(item.items(sequence)), None)
        if first is None:
            return cls("", "", "")
        return cls(first.text(0x00080100), first.text(0x00080102), first.text(0x00080104))

    def __str__(self) -> str:
        return f"({self.value}, {self.scheme}, {self.meaning!r})"


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance that a manifest references, and the item in which it does."""

    study: str
    series: str
    sop_class: str
    sop_instance: str
    item: Item


class Manifest:
    """A manifest in the order in which its rules read it."""

    def __init__(self, data_set: Item) -> None:
        self.data_set = data_set

    @cached_property
    def title(self) -> Code:
        """The document title."""
        return Code.of(self.data_set, 0x0040A043)

    @cached_property
    def series_items(self) -> tuple[tuple[str, Item], ...]:
        """The series items of the evidence, each with the UID of its study."""
        return tuple(
            (study.text(0x0020000D), series)
            for study in self.data_set.items(0x0040A375)
            for series in study.items(0x00081115)
        )

    @cached_property
    def evidence(self) -> tuple[Reference, ...]:
        """Every instance of the evidence."""
        return tuple(
            Reference(study, series.text(0x0020000E), sop.text(0x00081150), sop.text(0x00081155), sop)
            for study, series in self.series_items
            for sop in series.items(0x00081199)
        )

    @cached_property
    def sop_classes(self) -> Mapping[str, str]:
        """The SOP class of every instance of the evidence."""
        return {one.sop_instance: one.sop_class for one in self.evidence}

    @cached_property
    def references(self) -> tuple[Reference, ...]:
        """Every instance that the content tree references at its first level."""
        return tuple(
            Reference("", "", sop.text(0x00081150), sop.text(0x00081155), content)
            for content in self.data_set.items(0x0040A730)
            if content.text(0x0040A040) in _REFERENCES
            for sop in content.items(0x00081199)[:1]
        )


def modules(manifest: Manifest) -> Iterator[Finding]:
    """Attributes of the modules that every Key Object Selection Document has."""
    main = manifest.data_set
    if main.text(0x00080016) != KEY_OBJECT_SELECTION:
        yield finding("KOS-001", main.place(0x00080016), "another SOP class", main.text(0x00080016))
    if main.text(0x00080060) != "KO":
        yield finding("KOS-002", main.place(0x00080060), "another modality", main.text(0x00080060))
    for id, numbers in _PRESENT:
        for number in numbers:
            if number not in main:
                yield finding(id, main.place(number), "the attribute is absent")
    for id, numbers in _WITH_VALUE:
        for number in numbers:
            if not main.text(number):
                state = "empty" if number in main else "absent"
                yield finding(id, main.place(number), f"the attribute is {state}")
    if len(main.items(0x00081111)) > 1:
        yield finding("KOS-007", main.place(0x00081111), f"{len(main.items(0x00081111))} items")
    if 0x00101002 in main:
        for other in main.items(0x00101002):
            for number in (0x00100020, 0x00100022):
                if not other.text(number):
                    yield finding("KOS-054", other.place(number), "the value is absent")
    for number in (0x0040A491, 0x0040A493):
        if number in main:
            yield finding("KOS-044", main.place(number), "the attribute is no part of this document")
    for number in main.elements:
        if number in (0x7FE00010, 0x7FE00008, 0x7FE00009) or number >> 16 == 0x0028:
            yield finding("KOS-045", main.place(number), "an attribute of images")
            break
    sex = main.text(0x00100040)
    if sex not in ("", "M", "F", "O"):
        yield finding("KOS-055", main.place(0x00100040), "no value of the enumeration", sex)


_PRESENT: Final[tuple[tuple[str, tuple[int, ...]], ...]] = (
    ("KOS-003", (0x00100010, 0x00100020, 0x00100030, 0x00100040)),
    ("KOS-005", (0x00080020, 0x00080030, 0x00080090, 0x00200010, 0x00080050)),
    ("KOS-007", (0x00081111,)),
    ("KOS-008", (0x00080070,)),
)
_WITH_VALUE: Final[tuple[tuple[str, tuple[int, ...]], ...]] = (
    ("KOS-004", (0x00100020,)),
    ("KOS-005", (0x0020000D,)),
    ("KOS-006", (0x0020000E, 0x00200011)),
    ("KOS-009", (0x00200013, 0x00080023, 0x00080033)),
    ("KOS-010", (0x00080018,)),
    ("KOS-052", (0x00080012, 0x00080013)),
    ("KOS-053", (0x00080201,)),
)


def evidence(manifest: Manifest) -> Iterator[Finding]:
    """The Current Requested Procedure Evidence Sequence, which consumers use."""
    main = manifest.data_set
    studies = main.items(0x0040A375)
    if not studies:
        yield finding("KOS-011", main.place(0x0040A375), "no item")
    for study in studies:
        yield from _filled(study, "KOS-012", 0x0020000D, 0x00081115)
        for series in study.items(0x00081115):
            yield from _filled(series, "KOS-013", 0x0020000E, 0x00081199)
            for sop in series.items(0x00081199):
                yield from _filled(sop, "KOS-014", 0x00081150, 0x00081155)
    for uid, times in Counter(one.sop_instance for one in manifest.evidence if one.sop_instance).items():
        if times > 1:
            yield finding("KOS-024", main.place(0x0040A375), f"one instance {times} times", uid)
    locations = Counter(
        (series.text(0x0020000E), series.text(0x0040E011), series.text(0x00080054))
        for _, series in manifest.series_items
    )
    for (uid, _, _), times in locations.items():
        if times > 1:
            yield finding(
                "KOS-057", main.place(0x0040A375), f"one series {times} times, of one location", uid
            )
    yield from _identity(manifest)


def _filled(item: Item, id: str, *numbers: int) -> Iterator[Finding]:
    for number in numbers:
        if not item.text(number) and not item.items(number):
            yield finding(id, item.place(number), "it is absent or empty")


def _identity(manifest: Manifest) -> Iterator[Finding]:
    """The manifest is an instance of the study that it references, and none of its series."""
    main = manifest.data_set
    own_series, own_uid, own_study = main.text(0x0020000E), main.text(0x00080018), main.text(0x0020000D)
    for study, series in manifest.series_items:
        if own_series and series.text(0x0020000E) == own_series:
            yield finding("KOS-019", main.place(0x0020000E), "a series that is referenced", own_series)
        if own_study and study and study != own_study and len(main.items(0x0040A375)) == 1:
            yield finding("KOS-021", main.place(0x0020000D), "not the study that is referenced", own_study)
            break
    for one in manifest.evidence:
        if own_uid and one.sop_instance == own_uid:
            yield finding("KOS-020", one.item.place(0x00081155), "the manifest itself", own_uid)
    if len({study for study, _ in manifest.series_items}) > 1:
        yield finding("KOS-023", main.place(0x0040A375), "instances of more than one study")
        if not main.items(0x0040A525):
            yield finding("KOS-022", main.place(0x0040A525), "no item, though more studies are referenced")


def retrieval(manifest: Manifest) -> Iterator[Finding]:
    """The attributes by which a consumer finds the source (RAD TF-3 4.68.4.1.2)."""
    for _, series in manifest.series_items:
        lower = series.items(0x00081199)
        for number, id in ((0x00080054, "KOS-015"), (0x0040E011, "KOS-016")):
            if series.text(number):
                continue
            if lower and all(sop.text(number) for sop in lower):
                yield finding("KOS-018", lower[0].place(number), "in the instance item only")
            else:
                yield finding(id, series.place(number), "the value is absent")
        yield from retrieve_url(series)
    for study in manifest.data_set.items(0x0040A375):
        for number in _RETRIEVE:
            if study.text(number):
                yield finding("KOS-018", study.place(number), "in the study item")


def retrieve_url(series: Item) -> Iterator[Finding]:
    """The base URI of WADO-RS, where there is one."""
    url = series.text(0x00081190)
    if not url:
        return
    place = series.place(0x00081190)
    try:
        parts = urlsplit(url)
    except ValueError:
        yield finding("KOS-017", place, "no URI", url)
        return
    if parts.scheme not in ("http", "https") or not parts.netloc:
        yield finding("KOS-017", place, "no absolute URI of http or https", url)
    elif "/studies/" in f"{parts.path}/":
        base = url.partition("/studies")[0]
        yield finding("KOS-017", place, "the URI of a resource, not the base of the service", url, right=base)


def content(manifest: Manifest) -> Iterator[Finding]:
    """The content tree at its first level (TID 2010)."""
    main = manifest.data_set
    if main.text(0x0040A040) != "CONTAINER":
        yield finding("KOS-030", main.place(0x0040A040), "no CONTAINER", main.text(0x0040A040))
    if main.text(0x0040A050) not in ("SEPARATE", "CONTINUOUS"):
        yield finding("KOS-033", main.place(0x0040A050), "no SEPARATE or CONTINUOUS", main.text(0x0040A050))
    yield from _title(manifest)
    template = next(iter(main.items(0x0040A504)), None)
    if template is None:
        yield finding("KOS-034", main.place(0x0040A504), "no item")
    elif (template.text(0x00080105), template.text(0x0040DB00)) != ("DCMR", "2010"):
        wrong = "another template than DCMR 2010"
        yield finding("KOS-034", template.place(0x0040DB00), wrong, template.text(0x0040DB00))
    yield from _tree(manifest)


def _title(manifest: Manifest) -> Iterator[Finding]:
    main, title = manifest.data_set, manifest.title
    place = main.place(0x0040A043)
    if not title.value or len(main.items(0x0040A043)) != 1:
        yield finding("KOS-031", place, f"{len(main.items(0x0040A043))} titles")
        return
    if title.value == TEMPORARY_TITLE:
        return  # told by the rules of MADO
    if title.scheme != "DCM" or title.value not in TITLES:
        yield finding("KOS-032", place, "no title of CID 7010", title)
    elif title.meaning != TITLES[title.value]:
        right = f"({title.value}, DCM, {TITLES[title.value]!r})"
        yield finding("KOS-035", place, "another meaning than the code has", title, right=right)
    if title.value in REJECTIONS:
        yield finding("KOS-048", place, "the title of a rejection note", title)
    elif title.value not in ("113030", "113031", "131560"):
        yield finding("KOS-037", place, "the title of something else than a manifest", title)
    modified = [
        one for one in main.items(0x0040A730) if Code.of(one, 0x0040A043).value == "113011"
    ]  # Document Title Modifier
    if title.value == "113013" and not modified:
        yield finding("KOS-043", main.place(0x0040A730), "no Document Title Modifier (113011, DCM)")
    if modified and title.value not in _TITLE_MODIFIED:
        yield finding("KOS-043", modified[0].place(0x0040A043), "a modifier, though the title takes none")


def _tree(manifest: Manifest) -> Iterator[Finding]:
    main = manifest.data_set
    if not manifest.references:
        yield finding("KOS-036", main.place(0x0040A730), "no reference to an instance")
    for item in main.items(0x0040A730):
        value_type, relationship = item.text(0x0040A040), item.text(0x0040A010)
        if value_type in _REFERENCES:
            yield from _reference(item, manifest)
            if relationship != "CONTAINS":
                yield finding("KOS-038", item.place(0x0040A010), "a reference is CONTAINS", relationship)
        elif relationship in _CONTEXT:
            if value_type not in ("CODE", "TEXT", "PNAME", "UIDREF"):
                yield finding(
                    "KOS-038", item.place(0x0040A040), f"no value type of {relationship}", value_type
                )
        elif relationship != "CONTAINS" or value_type not in ("TEXT", "CONTAINER"):
            wrong = "a content item that the template has not"
            yield finding("KOS-038", item.place(0x0040A040), wrong, f"{relationship} {value_type}".strip())
        elif value_type == "CONTAINER" and manifest.title.value not in ("131560", TEMPORARY_TITLE):
            yield finding("KOS-038", item.place(0x0040A040), "an Image Library, which this title has not")
    named_instances = {one.sop_instance for one in manifest.references}
    for one in manifest.evidence:
        if one.sop_instance and one.sop_instance not in named_instances:
            place = one.item.place(0x00081155)
            yield finding(
                "KOS-040", place, "an instance that the content tree does not name", one.sop_instance
            )


def _reference(item: Item, manifest: Manifest) -> Iterator[Finding]:
    if item.items(0x0040A043):
        yield finding("KOS-039", item.place(0x0040A043), "a concept name", Code.of(item, 0x0040A043))
    yield from reference(item, manifest)


def reference(item: Item, manifest: Manifest) -> Iterator[Finding]:
    """A reference to an instance, wherever it stands in the tree."""
    listed = item.items(0x00081199)
    if len(listed) != 1:
        yield finding("KOS-041", item.place(0x00081199), f"{len(listed)} items")
        return
    (sop,) = listed
    yield from _filled(sop, "KOS-041", 0x00081150, 0x00081155)
    sop_class, uid = sop.text(0x00081150), sop.text(0x00081155)
    if uid and uid not in manifest.sop_classes:
        yield finding("KOS-042", sop.place(0x00081155), "an instance that the evidence does not name", uid)
    elif uid and sop_class and sop_class != manifest.sop_classes[uid]:
        right = manifest.sop_classes[uid]
        yield finding(
            "KOS-046", sop.place(0x00081150), "another SOP class than in the evidence", sop_class, right=right
        )
    right_types = value_types(sop_class)
    if sop_class and item.text(0x0040A040) not in right_types:
        yield finding(
            "KOS-047",
            item.place(0x0040A040),
            f"{item.text(0x0040A040)} for SOP class {sop_class}",
            item.text(0x0040A040),
            right=" or ".join(sorted(right_types)),
        )


def requests(manifest: Manifest) -> Iterator[Finding]:
    """The Referenced Request Sequence, and who issued the identifiers."""
    main = manifest.data_set
    for request in main.items(0x0040A370):
        if not request.text(0x0020000D):
            yield finding("KOS-049", request.place(0x0020000D), "the value is absent")
        elif request.text(0x0020000D) != main.text(0x0020000D):
            yield finding("KOS-056", request.place(0x0020000D), "another study", request.text(0x0020000D))
        for number in _TYPE_2_OF_REQUEST:
            if number not in request:
                yield finding("KOS-049", request.place(number), "the attribute is absent")
        for number in (0x00080051, 0x00400026, 0x00400027):
            yield from issuer(request, number)
    for number in (0x00080051, 0x00100024):
        yield from issuer(main, number)
    for other in main.items(0x00101002):
        yield from issuer(other, 0x00100024)


_TYPE_2_OF_REQUEST: Final = (
    0x00081110, 0x00080050, 0x00402016, 0x00402017, 0x00401001, 0x00321060, 0x00321064,
)  # fmt: skip


def issuer(item: Item, sequence: int) -> Iterator[Finding]:
    """The items of a sequence that says who issued an identifier (PS3.3 10.14, 10.17)."""
    items = item.items(sequence)
    if len(items) > 1:
        yield finding("KOS-050", item.place(sequence), f"{len(items)} items where one is allowed")
    for one in items:
        for misplaced, right in ((0x00100032, 0x00400032), (0x00100033, 0x00400033)):
            if misplaced in one:
                yield finding("KOS-051", one.place(misplaced), "not the tag of the issuer", right=name(right))
        entity, kind = one.text(0x00400032), one.text(0x00400033)
        if entity and not kind:
            yield finding("KOS-050", one.place(0x00400033), f"absent, though {name(0x00400032)} is there")
        if kind == "ISO" and not UID.match(entity):
            yield finding("KOS-050", one.place(0x00400032), "no OID, though its type is ISO", entity)
        if not entity and not one.text(0x00400031):
            yield finding("KOS-050", one.path.rstrip("/"), "neither Universal Entity ID nor a local one")


RULES: Final = (modules, evidence, retrieval, content, requests)
