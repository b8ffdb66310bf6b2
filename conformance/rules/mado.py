"""MADO 1.0.0 manifests as Key Object Selection Documents (RAD MADO, DICOM CP-2595, TID 1600 to 1609)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from conformance.codes import KEY_OBJECT_SELECTION, MODALITIES, REGIONS, TITLES
from conformance.findings import Finding
from conformance.readers.dicom import Item, every_item
from conformance.requirements import finding
from conformance.rules import kos
from conformance.rules.kos import Code, Manifest

_TIMEZONE: Final = re.compile(r"[+-](?:0\d|1[0-4])[0-5]\d\Z", re.ASCII)
_INTEGER: Final = re.compile(r"\d{1,9}(?:\.0+)?\Z", re.ASCII)
_PRIVATE_DISPLAY_URI: Final = range(0x000D1001, 0x000DFF02, 0x100)

MODALITY: Final = "121139"
REGION: Final = "123014"
SERIES_COUNT: Final = "131565"
INSTANCE_COUNT: Final = "131564"
SERIES_UID: Final = "112002"
INSTANCE_NUMBER: Final = "113609"
FRAMES: Final = "121140"
LIBRARY: Final = "111028"
GROUP: Final = "126200"
DOCUMENT_TITLE: Final = "121144"
DESCRIPTION: Final = "113012"

#: Codes of the Image Library: their meanings, and the value types that they take.
CONCEPTS: Final = {
    MODALITY: ("Modality", ("CODE",)),
    REGION: ("Target Region", ("CODE", "TEXT")),
    SERIES_COUNT: ("Number of Study Related Series", ("NUM",)),
    INSTANCE_COUNT: ("Number of Series Related Instances", ("NUM",)),
    SERIES_UID: ("Series Instance UID", ("UIDREF",)),
    "131561": ("Series Date", ("DATE",)),
    "131562": ("Series Time", ("TIME",)),
    "131563": ("Series Description", ("TEXT",)),
    "113607": ("Series Number", ("TEXT",)),
    INSTANCE_NUMBER: ("Instance Number", ("TEXT",)),
    FRAMES: ("Number of Frames", ("NUM",)),
    DOCUMENT_TITLE: ("Document Title", ("CODE",)),
    DESCRIPTION: ("Key Object Description", ("TEXT",)),
}
#: Those of the trial texts, and what replaced them.
TEMPORARY: Final = {
    "MADOTEMP001": "131560",
    "MADOTEMP002": "131563",
    "MADOTEMP003": "131561",
    "MADOTEMP004": "131562",
    "MADOTEMP007": INSTANCE_COUNT,
    "MADOTEMP009": SERIES_COUNT,
}
_VALUES: Final = {
    "CODE": 0x0040A168,
    "TEXT": 0x0040A160,
    "DATE": 0x0040A121,
    "TIME": 0x0040A122,
    "UIDREF": 0x0040A124,
    "NUM": 0x0040A300,
}


def concept(item: Item) -> str:
    """The code of the concept name of a content item, in its final form."""
    code = Code.of(item, 0x0040A043)
    return TEMPORARY.get(code.value, code.value)


def children(item: Item, code: str) -> tuple[Item, ...]:
    """The content items below `item` of one concept."""
    return tuple(one for one in item.items(0x0040A730) if concept(one) == code)


def study_and_patient(manifest: Manifest) -> Iterator[Finding]:
    """What MADO demands beyond the modules."""
    main = manifest.data_set
    if manifest.title.value == "131560" and manifest.title.meaning != TITLES["131560"]:
        yield finding("MADO-001", main.place(0x0040A043), "another meaning", manifest.title)
    if len(main.items(0x0040A375)) > 1:
        yield finding("MADO-002", main.place(0x0040A375), f"{len(main.items(0x0040A375))} studies")
    for number, id in _VALUED:
        if not main.text(number):
            yield finding(id, main.place(number), "empty" if number in main else "absent")
    if len(main.items(0x00100024)) != 1:
        yield finding("MADO-005", main.place(0x00100024), f"{len(main.items(0x00100024))} items")
    for one in main.items(0x00100024):
        for number in (0x00400032, 0x00400033):
            if not one.text(number):
                yield finding("MADO-005", one.place(number), "the value is absent")
    yield from _other_ids(main)
    offset = main.text(0x00080201)
    if offset and not _TIMEZONE.match(offset):
        yield finding("MADO-021", main.place(0x00080201), "not of the form ±HHMM", offset)
    yield from _accession_issuer(main)


_VALUED: Final = (
    (0x00100020, "MADO-003"),
    (0x00100021, "MADO-004"),
    (0x00080020, "MADO-008"),
    (0x00080030, "MADO-008"),
    (0x00080070, "MADO-010"),
    (0x00080080, "MADO-011"),
    (0x00080201, "MADO-020"),
)


def _other_ids(main: Item) -> Iterator[Finding]:
    others = main.items(0x00101002)
    if not others:
        yield finding("MADO-006", main.place(0x00101002), "no item")
        return
    for other in others:
        qualifiers = other.items(0x00100024)
        if not qualifiers or not all(one.text(0x00400032) for one in qualifiers):
            yield finding("MADO-007", other.place(0x00100024), "no Universal Entity ID")
    if main.text(0x00100020) and main.text(0x00100020) not in {other.text(0x00100020) for other in others}:
        yield finding("MADO-006", main.place(0x00101002), "the Patient ID itself is not among them")


def _accession_issuer(item: Item) -> Iterator[Finding]:
    if item.text(0x00080050) and len(item.items(0x00080051)) != 1:
        yield finding("MADO-009", item.place(0x00080051), f"{len(item.items(0x00080051))} items")


def requests(manifest: Manifest) -> Iterator[Finding]:
    """The Referenced Request Sequence: unique pairs of accession and placer order number."""
    main = manifest.data_set
    requests = main.items(0x0040A370)
    if not requests:
        yield finding("MADO-012", main.place(0x0040A370), "no item")
    for request in requests:
        if not request.text(0x00080050):
            yield finding("MADO-013", request.place(0x00080050), "no accession number")
        if not request.text(0x00402016):
            yield finding("MADO-018", request.place(0x00402016), "no placer order number")
        yield from _accession_issuer(request)
        if request.text(0x00402016) and not request.items(0x00400026):
            yield finding(
                "MADO-014", request.place(0x00400026), "no item, though there is a placer order number"
            )
    pairs = Counter(
        (one.text(0x00080050), _entity(one, 0x00080051), one.text(0x00402016), _entity(one, 0x00400026))
        for one in requests
    )
    if any(times > 1 for times in pairs.values()):
        yield finding("MADO-015", main.place(0x0040A370), "two items for one pair")
    accessions = {one.text(0x00080050) for one in requests if one.text(0x00080050)}
    own = main.text(0x00080050)
    if own and len(accessions) > 1:
        yield finding("MADO-016", main.place(0x00080050), f"a value, though there are {len(accessions)}", own)
    elif own and accessions and own not in accessions:
        yield finding("MADO-017", main.place(0x00080050), "another value than in the request", own)


def _entity(item: Item, sequence: int) -> str:
    return next((one.text(0x00400032) for one in item.items(sequence)), "")


def retrieval(manifest: Manifest) -> Iterator[Finding]:
    """Addresses: the Retrieve Location UID of each series, and the URIs."""
    main = manifest.data_set
    for _, series in manifest.series_items:
        if not series.text(0x0040E011):
            yield finding("MADO-019", series.place(0x0040E011), "the value is absent")
        yield from kos.retrieve_url(series)
    for study in main.items(0x0040A375):
        if uri := study.text(0x0040E012):
            yield from _display_uri(study, uri)
        for number in _PRIVATE_DISPLAY_URI:
            if number in study:
                yield finding("MADO-023", study.place(number), "the private attribute of the trial text")
    if 0x0040E012 in main:
        yield finding("MADO-022", main.place(0x0040E012), "outside the study item of the evidence")


def _display_uri(study: Item, uri: str) -> Iterator[Finding]:
    try:
        parts = urlsplit(uri)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        yield finding("MADO-024", study.place(0x0040E012), "no absolute URI", uri)


def codes(manifest: Manifest) -> Iterator[Finding]:
    """The codes are the final ones, with their meanings, in the value types that they take."""
    if manifest.title.value == "MADOTEMP001":
        place = manifest.data_set.place(0x0040A043)
        yield finding("MADO-054", place, "a code of the trial text", manifest.title, right="(131560, DCM)")
    for item in every_item(manifest.data_set):
        if 0x0040A043 not in item or not item.path:
            continue
        code = Code.of(item, 0x0040A043)
        place = item.place(0x0040A043)
        if code.value in TEMPORARY:
            right = f"({TEMPORARY[code.value]}, DCM, {CONCEPTS[TEMPORARY[code.value]][0]!r})"
            yield finding("MADO-054", place, "a code of the trial text", code, right=right)
        elif code.value in CONCEPTS and code.scheme == "DCM":
            meaning, value_types = CONCEPTS[code.value]
            value_type = item.text(0x0040A040)
            if code.meaning != meaning:
                yield finding(
                    "MADO-055", place, "another meaning than the code has", code, right=repr(meaning)
                )
            if value_type not in value_types:
                right = " or ".join(value_types)
                wrong = f"{meaning} as {value_type}"
                yield finding("MADO-051", item.place(0x0040A040), wrong, value_type, right=right)
            else:
                yield from _value(item, value_type, meaning)


def _value(item: Item, value_type: str, meaning: str) -> Iterator[Finding]:
    number = _VALUES[value_type]
    if not item.text(number) and not item.items(number):
        yield finding("MADO-052", item.place(number), f"{meaning} has no value")
    elif value_type == "CODE":
        code = Code.of(item, number)
        if not code.value or not code.scheme or not code.meaning:
            yield finding("MADO-052", item.place(number), "value, scheme or meaning is absent", code)


def library(manifest: Manifest) -> Iterator[Finding]:
    """The Image Library (TID 1600): one, with what is said of the study."""
    main = manifest.data_set
    libraries = children(main, LIBRARY)
    if len(libraries) != 1:
        yield finding("MADO-030", main.place(0x0040A730), f"{len(libraries)} Image Libraries")
        return
    (one,) = libraries
    yield from _container(one)
    yield from _order(one, GROUP)
    series = {each.text(0x0020000E) for _, each in manifest.series_items}
    yield from _counted(one, SERIES_COUNT, len(series), "{series}", ("MADO-034", "MADO-035"))
    modalities = _coded(one, MODALITY)
    if not modalities:
        yield finding("MADO-031", one.place(0x0040A730), "no Modality (121139, DCM)")
    for item, code in modalities:
        if code.scheme != "DCM" or code.value not in MODALITIES:
            yield finding("MADO-036", item.place(0x0040A168), "no code of CID 33", code)
    regions = _coded(one, REGION)
    if not regions:
        yield finding("MADO-032", one.place(0x0040A730), "no Target Region (123014, DCM)")
    for item, code in regions:
        if code.value.isdigit() and code.scheme != "SCT":
            yield finding("MADO-057", item.place(0x0040A168), "a SNOMED CT code of another scheme", code)
        elif code.scheme != "SCT" or code.value not in REGIONS:
            yield finding("MADO-033", item.place(0x0040A168), "no region of the value set", code)
    yield from _groups(one, manifest, {code.value for _, code in modalities})


def _groups(library: Item, manifest: Manifest, modalities: set[str]) -> Iterator[Finding]:
    groups = children(library, GROUP)
    series_of_evidence = {series.text(0x0020000E) for _, series in manifest.series_items}
    instances: dict[str, set[str]] = {}
    for reference in manifest.evidence:
        instances.setdefault(reference.series, set()).add(reference.sop_instance)
    named_series: list[str] = []
    of_groups: set[str] = set()
    for group in groups:
        uids = [one.text(0x0040A124) for one in children(group, SERIES_UID)]
        if len(uids) != 1:
            yield finding("MADO-042", group.place(0x0040A730), f"{len(uids)} Series Instance UIDs")
        for uid in uids:
            named_series.append(uid)
            if uid and uid not in series_of_evidence:
                yield finding("MADO-043", group.place(0x0040A730), "a series that the evidence has not", uid)
        codes = _coded(group, MODALITY)
        of_groups.update(code.value for _, code in codes)
        if len(codes) != 1:
            yield finding("MADO-041", group.place(0x0040A730), f"{len(codes)} modalities")
        yield from _group(group, manifest, instances.get(uids[0] if uids else "", set()))
    for uid, times in Counter(named_series).items():
        if times > 1:
            yield finding("MADO-040", library.place(0x0040A730), f"{times} groups of one series", uid)
    for uid in sorted(series_of_evidence - set(named_series)):
        yield finding("MADO-040", library.place(0x0040A730), "a series without a group", uid)
    if of_groups and modalities and of_groups != modalities:
        value = f"study {' '.join(sorted(modalities))}; series {' '.join(sorted(of_groups))}"
        yield finding("MADO-037", library.place(0x0040A730), "not the modalities of the series", value)


def _group(group: Item, manifest: Manifest, instances: set[str]) -> Iterator[Finding]:
    yield from _container(group)
    yield from _order(group, "")
    yield from _counted(group, INSTANCE_COUNT, len(instances), "{instances}", ("MADO-044", "MADO-045"))
    references = [one for one in group.items(0x0040A730) if one.items(0x00081199)]
    listed = [one.items(0x00081199)[0].text(0x00081155) for one in references]
    if not references:
        yield finding("MADO-046", group.place(0x0040A730), "no reference to an instance")
    for uid in sorted(instances - set(listed)):
        yield finding(
            "MADO-046", group.place(0x0040A730), "an instance of the series is not in its group", uid
        )
    for uid in sorted(set(listed) - instances) if instances else ():
        yield finding("MADO-046", group.place(0x0040A730), "an instance of another series", uid)
    for uid, times in Counter(listed).items():
        if times > 1:
            yield finding("MADO-047", group.place(0x0040A730), f"one instance {times} times", uid)
    for sibling in (*children(group, INSTANCE_NUMBER), *children(group, FRAMES)):
        yield finding("MADO-048", sibling.place(0x0040A043), "beside the reference and not below it")
    for one in references:
        yield from kos.reference(one, manifest)
        yield from _instance(one)


def _instance(item: Item) -> Iterator[Finding]:
    """An entry of the library (TID 1601, TID 1609)."""
    if item.text(0x0040A010) != "CONTAINS":
        yield finding("MADO-053", item.place(0x0040A010), "a reference is CONTAINS", item.text(0x0040A010))
    yield from _descriptors(item.items(0x0040A730))
    for frames in children(item, FRAMES):
        yield from _number(frames, "{frames}", "MADO-049")
    if item.items(0x00081199)[0].text(0x00081150) == KEY_OBJECT_SELECTION:
        titles = _coded(item, DOCUMENT_TITLE)
        if not titles:
            yield finding("MADO-050", item.place(0x0040A730), "no Document Title (121144, DCM)")
        for title, code in titles:
            if code.scheme == "DCM" and code.value not in TITLES:
                yield finding("MADO-050", title.place(0x0040A168), "no title of CID 7010", code)


def _container(item: Item) -> Iterator[Finding]:
    if item.text(0x0040A040) != "CONTAINER" or item.text(0x0040A010) != "CONTAINS":
        value = f"{item.text(0x0040A010)} {item.text(0x0040A040)}"
        yield finding("MADO-058", item.place(0x0040A040), "no CONTAINS CONTAINER", value)
    if item.text(0x0040A050) not in ("SEPARATE", "CONTINUOUS"):
        yield finding("MADO-059", item.place(0x0040A050), "absent, or another value", item.text(0x0040A050))


def _order(container: Item, below: str) -> Iterator[Finding]:
    """Descriptors come first, by HAS ACQ CONTEXT."""
    items = container.items(0x0040A730)
    descriptors = [one for one in items if not one.items(0x00081199) and concept(one) not in (GROUP, "")]
    yield from _descriptors(descriptors)
    first_content = next(
        (at for at, one in enumerate(items) if one.items(0x00081199) or concept(one) == GROUP), len(items)
    )
    late = [one for one in items[first_content:] if one in descriptors]
    if late and concept(late[0]) not in (INSTANCE_NUMBER, FRAMES, DOCUMENT_TITLE, DESCRIPTION):
        yield finding("MADO-056", late[0].place(0x0040A043), "behind the references")


def _descriptors(items: Sequence[Item]) -> Iterator[Finding]:
    for one in items:
        if one.text(0x0040A010) != "HAS ACQ CONTEXT":
            yield finding("MADO-053", one.place(0x0040A010), "no HAS ACQ CONTEXT", one.text(0x0040A010))


def _coded(item: Item, code: str) -> list[tuple[Item, Code]]:
    return [(one, Code.of(one, 0x0040A168)) for one in children(item, code)]


def _counted(item: Item, code: str, number: int, unit: str, ids: tuple[str, str]) -> Iterator[Finding]:
    """A number that is said, and its unit; `ids` are those of its form and of its value."""
    items = children(item, code)
    if len(items) != 1:
        yield finding(ids[0], item.place(0x0040A730), f"{len(items)} times {CONCEPTS[code][0]} ({code}, DCM)")
    for one in items:
        yield from _number(one, unit, ids[0])
        text = _measured(one)
        if _INTEGER.match(text) and int(float(text)) != number:
            wrong = "not the number in the evidence"
            yield finding(ids[1], one.place(0x0040A300), wrong, text, right=str(number))


def _measured(item: Item) -> str:
    return next((one.text(0x0040A30A) for one in item.items(0x0040A300)), "")


def _number(item: Item, unit: str, id: str) -> Iterator[Finding]:
    measured = next(iter(item.items(0x0040A300)), None)
    if measured is None:
        if item.text(0x0040A040) == "NUM":
            yield finding(id, item.place(0x0040A300), "no item")
        return
    if not _INTEGER.match(measured.text(0x0040A30A)):
        yield finding(id, measured.place(0x0040A30A), "no whole number", measured.text(0x0040A30A))
    units = Code.of(measured, 0x004008EA)
    if (units.value, units.scheme) != (unit, "UCUM"):
        yield finding(id, measured.place(0x004008EA), "another unit", units, right=f"({unit}, UCUM)")


RULES: Final = (study_and_patient, requests, retrieval, codes, library)
