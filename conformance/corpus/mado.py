"""MADO 1.0.0 manifests as Key Object Selection Documents, and what can be wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from conformance.corpus.data_sets import DataSet, Raw, part10
from conformance.corpus.example import Example, mutated
from conformance.corpus.manifests import (
    CT,
    ECG,
    KIND,
    KOS,
    SERIES,
    Change,
    at,
    both,
    code,
    issuer,
    manifest,
    reference,
    request,
    series,
    with_item,
    with_value,
    without,
    without_item,
)

NOTE: Final = "2.25.5041"
_MODALITIES: Final = {
    "2.25.501": ("CT", "Computed Tomography"),
    "2.25.502": ("PR", "Presentation State"),
    "2.25.503": ("ECG", "Electrocardiography"),
    "2.25.504": ("KO", "Key Object Selection"),
}


def _context(concept: list[DataSet], **content: object) -> DataSet:
    return {0x0040A010: "HAS ACQ CONTEXT", 0x0040A043: concept}


def coded(concept: list[DataSet], value: list[DataSet]) -> DataSet:
    """A CODE that describes."""
    return {**_context(concept), 0x0040A040: "CODE", 0x0040A168: value}


def text(concept: list[DataSet], value: str) -> DataSet:
    """A TEXT that describes."""
    return {**_context(concept), 0x0040A040: "TEXT", 0x0040A160: value}


def number(concept: list[DataSet], value: str, unit: str) -> DataSet:
    """A NUM that describes."""
    units = code(f"{{{unit}}}", "UCUM", unit)
    measured: DataSet = {0x0040A30A: value, 0x004008EA: units}
    return {**_context(concept), 0x0040A040: "NUM", 0x0040A300: [measured]}


def _library() -> DataSet:
    modality = code("121139", "DCM", "Modality")
    return {
        0x0040A010: "CONTAINS",
        0x0040A040: "CONTAINER",
        0x0040A043: code("111028", "DCM", "Image Library"),
        0x0040A050: "SEPARATE",
        0x0040A730: [
            *(coded(modality, code(value, "DCM", meaning)) for value, meaning in _MODALITIES.values()),
            coded(code("123014", "DCM", "Target Region"), code("80891009", "SCT", "Heart")),
            number(code("131565", "DCM", "Number of Study Related Series"), "4", "series"),
            *(_group(uid) for uid in _MODALITIES),
        ],
    }


def _instances(uid: str) -> tuple[tuple[str, str, str], ...]:
    return SERIES.get(uid, ((KOS, NOTE, "COMPOSITE"),))


def _group(uid: str) -> DataSet:
    value, meaning = _MODALITIES[uid]
    instances = _instances(uid)
    return {
        0x0040A010: "CONTAINS",
        0x0040A040: "CONTAINER",
        0x0040A043: code("126200", "DCM", "Image Library Group"),
        0x0040A050: "SEPARATE",
        0x0040A730: [
            coded(code("121139", "DCM", "Modality"), code(value, "DCM", meaning)),
            {
                **_context(code("112002", "DCM", "Series Instance UID")),
                0x0040A040: "UIDREF",
                0x0040A124: uid,
            },
            {
                **_context(code("131561", "DCM", "Series Date")),
                0x0040A040: "DATE",
                0x0040A121: "20260228",
            },
            {
                **_context(code("131562", "DCM", "Series Time")),
                0x0040A040: "TIME",
                0x0040A122: "093100",
            },
            text(code("131563", "DCM", "Series Description"), "Axial"),
            text(code("113607", "DCM", "Series Number"), "2"),
            number(
                code("131564", "DCM", "Number of Series Related Instances"), str(len(instances)), "instances"
            ),
            *(_entry(at, *instance) for at, instance in enumerate(instances, 1)),
        ],
    }


def _entry(at: int, sop_class: str, uid: str, value_type: str) -> DataSet:
    children = [text(code("113609", "DCM", "Instance Number"), str(at))]
    if sop_class == CT:
        children.append(number(code("121140", "DCM", "Number of Frames"), "1", "frames"))
    if sop_class == KOS:
        title = code("113000", "DCM", "Of Interest")
        children.append(coded(code("121144", "DCM", "Document Title"), title))
        children.append(text(code("113012", "DCM", "Key Object Description"), "two nodules"))
    return {
        0x0040A010: "CONTAINS",
        0x0040A040: value_type,
        0x00081199: [reference(sop_class, uid)],
        0x0040A730: children,
    }


def described() -> DataSet:
    """A manifest with description, of four series."""
    one = manifest()
    evidence = at(one, (0x0040A375, 0))
    listed = evidence[0x00081115]
    assert isinstance(listed, list)
    listed.append({**series("2.25.503"), 0x0020000E: "2.25.504", 0x00081199: [reference(KOS, NOTE)]})
    evidence[0x0040E012] = "https://viewer.example.org/?study=2.25.500"
    flat = one[0x0040A730]
    assert isinstance(flat, list)
    one |= {
        0x00080080: "Example Hospital^^^^^&1.2.3.8&ISO^^^^77",
        0x00100021: "HOSPITAL",
        0x00101002: [
            {0x00100020: "P1", 0x00100021: "HOSPITAL", 0x00100022: "TEXT", 0x00100024: issuer("1.2.3.9")},
            {0x00100020: "N-7", 0x00100021: "NATION", 0x00100022: "TEXT", 0x00100024: issuer("1.2.3.10")},
        ],
        0x0040A043: code("131560", "DCM", "Manifest with Description"),
        0x0040A730: [
            {
                0x0040A010: "HAS CONCEPT MOD",
                0x0040A040: "CODE",
                0x0040A043: code("121023", "DCM", "Procedure Code"),
                0x0040A168: code("169069000", "SCT", "CT of chest"),
            },
            _library(),
            *flat,
            {0x0040A010: "CONTAINS", 0x0040A040: "COMPOSITE", 0x00081199: [reference(KOS, NOTE)]},
        ],
    }
    return one


_TREE: Final = 0x0040A730
_LIBRARY: Final = (_TREE, 1)
#: Where things stand in the library: four modalities, region, number of series, then groups.
_REGION: Final = (*_LIBRARY, _TREE, 4)
_SERIES_COUNT: Final = (*_LIBRARY, _TREE, 5)
_GROUP: Final = (*_LIBRARY, _TREE, 6)
_NOTES: Final = (*_LIBRARY, _TREE, 9)
#: And in a group: modality, series, date, time, description, number, count, then instances.
_COUNT: Final = (*_GROUP, _TREE, 6)
_ENTRY: Final = (*_GROUP, _TREE, 7)
_SERIES_ITEM: Final = (0x0040A375, 0, 0x00081115, 0)
_CONCEPT: Final = 0x0040A043


def _moved_beside(data_set: DataSet) -> None:
    """The layout of the published samples: Instance Number before its reference."""
    entry, group = at(data_set, _ENTRY), at(data_set, _GROUP)
    children, siblings = entry[_TREE], group[_TREE]
    assert isinstance(children, list)
    assert isinstance(siblings, list)
    siblings.insert(7, children.pop(0))


def _described_late(data_set: DataSet) -> None:
    group = at(data_set, _GROUP)[_TREE]
    assert isinstance(group, list)
    group.append(group.pop(4))


MUTATIONS: Final[dict[str, tuple[str, Change]]] = {
    "another meaning of the title": ("MADO-001", with_value("Manifest", _CONCEPT, 0, 0x00080104)),
    "two studies": (
        "MADO-002",
        with_item({0x0020000D: "2.25.600", 0x00081115: [series("2.25.503")]}, 0x0040A375),
    ),
    "empty Patient ID": ("MADO-003", with_value("", 0x00100020)),
    "no Issuer of Patient ID": ("MADO-004", without(0x00100021)),
    "no qualifiers of the issuer": ("MADO-005", without(0x00100024)),
    "qualifiers without type": ("MADO-005", without(0x00100024, 0, 0x00400033)),
    "no other patient ids": ("MADO-006", without(0x00101002)),
    "the Patient ID not among the others": ("MADO-006", without_item(0, 0x00101002)),
    "another patient id without issuer": ("MADO-007", without(0x00101002, 1, 0x00100024)),
    "empty Study Date": ("MADO-008", with_value("", 0x00080020)),
    "empty Study Time": ("MADO-008", with_value("", 0x00080030)),
    "an accession number without issuer": ("MADO-009", without(0x00080051)),
    "an accession number of a request without issuer": ("MADO-009", without(0x0040A370, 0, 0x00080051)),
    "empty Manufacturer": ("MADO-010", with_value("", 0x00080070)),
    "no Institution Name": ("MADO-011", without(0x00080080)),
    "no request": ("MADO-012", without(0x0040A370)),
    "a request without accession number": ("MADO-013", with_value("", 0x0040A370, 0, 0x00080050)),
    "a placer order number without issuer": ("MADO-014", without(0x0040A370, 0, 0x00400026)),
    "a request twice": ("MADO-015", with_item(request(), 0x0040A370)),
    "an accession number though there are two": (
        "MADO-016",
        with_item({**request(), 0x00080050: "A124"}, 0x0040A370),
    ),
    "an accession number of no request": ("MADO-017", with_value("B9", 0x00080050)),
    "no placer order number": ("MADO-018", with_value("", 0x0040A370, 0, 0x00402016)),
    "no Retrieve Location UID": ("MADO-019", without(*_SERIES_ITEM, 0x0040E011)),
    "no Timezone Offset": ("MADO-020", without(0x00080201)),
    "a Timezone Offset with colon": ("MADO-021", with_value("+01:00", 0x00080201)),
    "Display URI in the main data set": ("MADO-022", with_value("https://v.example.org/", 0x0040E012)),
    "Display URI as private attribute": (
        "MADO-023",
        with_value(Raw("UR", b"https://v.example.org/ "), 0x0040A375, 0, 0x000D1001),
    ),
    "a relative Display URI": ("MADO-024", with_value("/viewer?study=2.25.500", 0x0040A375, 0, 0x0040E012)),
    "a Retrieve URL of a series": (
        "KOS-017",
        with_value("https://pacs.example.org/studies/2.25.500/series/2.25.501", *_SERIES_ITEM, 0x00081190),
    ),
    "no Image Library": ("MADO-030", without_item(1, _TREE)),
    "no modality of the study": (
        "MADO-031",
        both(*(without_item(0, *_LIBRARY, _TREE) for _ in range(4))),
    ),
    "no Target Region": ("MADO-032", without_item(4, *_LIBRARY, _TREE)),
    "a Target Region out of the value set": (
        "MADO-033",
        with_value(code("39607008", "SCT", "Lung"), *_REGION, 0x0040A168),
    ),
    "no number of series": ("MADO-034", without_item(5, *_LIBRARY, _TREE)),
    "a number of series without unit": ("MADO-034", without(*_SERIES_COUNT, 0x0040A300, 0, 0x004008EA)),
    "a number of series with words": (
        "MADO-034",
        with_value("4 series", *_SERIES_COUNT, 0x0040A300, 0, 0x0040A30A),
    ),
    "a wrong number of series": ("MADO-035", with_value("3", *_SERIES_COUNT, 0x0040A300, 0, 0x0040A30A)),
    "an unknown modality": (
        "MADO-036",
        with_value(code("CAT", "DCM", "Cat"), *_LIBRARY, _TREE, 0, 0x0040A168),
    ),
    "a modality that no series has": (
        "MADO-037",
        with_value(code("MR", "DCM", "Magnetic Resonance"), *_LIBRARY, _TREE, 0, 0x0040A168),
    ),
    "a series without group": ("MADO-040", without_item(6, *_LIBRARY, _TREE)),
    "a group without modality": ("MADO-041", without_item(0, *_GROUP, _TREE)),
    "a group without series": ("MADO-042", without_item(1, *_GROUP, _TREE)),
    "a group of an unknown series": ("MADO-043", with_value("2.25.599", *_GROUP, _TREE, 1, 0x0040A124)),
    "no number of instances": ("MADO-044", without_item(6, *_GROUP, _TREE)),
    "a number of instances in another unit": (
        "MADO-044",
        with_value(code("1", "UCUM", "no units"), *_COUNT, 0x0040A300, 0, 0x004008EA),
    ),
    "a wrong number of instances": ("MADO-045", with_value("7", *_COUNT, 0x0040A300, 0, 0x0040A30A)),
    "a group without one of its instances": ("MADO-046", without_item(8, *_GROUP, _TREE)),
    "a group with an instance of another series": (
        "MADO-046",
        with_value([reference(ECG, "2.25.5031")], *_ENTRY, 0x00081199),
    ),
    "a group with an instance twice": (
        "MADO-047",
        with_value([reference(CT, "2.25.5012")], *_ENTRY, 0x00081199),
    ),
    "Instance Number beside its reference": ("MADO-048", _moved_beside),
    "a number of frames with words": (
        "MADO-049",
        with_value("one", *_ENTRY, _TREE, 1, 0x0040A300, 0, 0x0040A30A),
    ),
    "a key image note without its title": ("MADO-050", without_item(1, *_NOTES, _TREE, 7, _TREE)),
    "a key image note with an unknown title": (
        "MADO-050",
        with_value(code("999999", "DCM", "Nice"), *_NOTES, _TREE, 7, _TREE, 1, 0x0040A168),
    ),
    "a number of instances as TEXT": (
        "MADO-051",
        with_value("TEXT", *_COUNT, 0x0040A040),
    ),
    "a Series Description as CODE": ("MADO-051", with_value("CODE", *_GROUP, _TREE, 4, 0x0040A040)),
    "a Series Date as TEXT": ("MADO-051", with_value("TEXT", *_GROUP, _TREE, 2, 0x0040A040)),
    "a Series Description without text": ("MADO-052", without(*_GROUP, _TREE, 4, 0x0040A160)),
    "a modality without meaning": ("MADO-052", without(*_GROUP, _TREE, 0, 0x0040A168, 0, 0x00080104)),
    "a descriptor that is HAS OBS CONTEXT": (
        "MADO-053",
        with_value("HAS OBS CONTEXT", *_GROUP, _TREE, 4, 0x0040A010),
    ),
    "the title of the trial text": (
        "MADO-054",
        with_value(code("MADOTEMP001", "99IHE", "Manifest with Description"), _CONCEPT),
    ),
    "a code of the trial text": (
        "MADO-054",
        with_value(code("MADOTEMP007", "99IHE", "Number of Series Related Instances"), *_COUNT, _CONCEPT),
    ),
    "another meaning of a code": ("MADO-055", with_value("Images", *_COUNT, _CONCEPT, 0, 0x00080104)),
    "a description behind the references": ("MADO-056", _described_late),
    "a SNOMED CT code as DCM": (
        "MADO-057",
        with_value(code("80891009", "DCM", "Heart"), *_REGION, 0x0040A168),
    ),
    "a library that is HAS PROPERTIES": ("MADO-058", with_value("HAS PROPERTIES", *_LIBRARY, 0x0040A010)),
    "a library without Continuity Of Content": ("MADO-059", without(*_LIBRARY, 0x0040A050)),
    "an instance that the flat list lacks": ("KOS-040", without_item(2, _TREE)),
    "an instance that the evidence lacks": ("KOS-042", without_item(0, *_SERIES_ITEM, 0x00081199)),
    "a study of its own": ("KOS-021", with_value("2.25.999", 0x0020000D)),
    "in a series that it references": ("KOS-019", with_value("2.25.501", 0x0020000E)),
    "it references itself": ("KOS-020", with_value(NOTE, 0x00080018)),
    "a request of another study": ("KOS-056", with_value("2.25.777", 0x0040A370, 0, 0x0020000D)),
    "an issuer in the birth time": (
        "KOS-051",
        with_value([{0x00100032: "1.2.3.4", 0x00100033: Raw("CS", b"ISO ")}], 0x00080051),
    ),
    "an institution beyond its VR": ("DCM-009", with_value("H" * 65, 0x00080080)),
}


def examples() -> Iterator[Example]:
    """A good manifest with description, and broken ones."""
    return mutated(KIND, "MADO manifest", described(), part10, MUTATIONS)
