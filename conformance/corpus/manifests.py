"""Manifests of XDS-I.b, and what can be wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from conformance.corpus.data_sets import DataSet, Raw, encode, part10
from conformance.corpus.example import Example, mutated

KIND: Final = "dicom"
CT: Final = "1.2.840.10008.5.1.4.1.1.2"
PRESENTATION_STATE: Final = "1.2.840.10008.5.1.4.1.1.11.1"
ECG: Final = "1.2.840.10008.5.1.4.1.1.9.1.1"
KOS: Final = "1.2.840.10008.5.1.4.1.1.88.59"
STUDY: Final = "2.25.500"
#: UIDs of series, each with the instances: their SOP class, UID and value type.
SERIES: Final = {
    "2.25.501": ((CT, "2.25.5011", "IMAGE"), (CT, "2.25.5012", "IMAGE")),
    "2.25.502": ((PRESENTATION_STATE, "2.25.5021", "COMPOSITE"),),
    "2.25.503": ((ECG, "2.25.5031", "WAVEFORM"),),
}


def code(value: str, scheme: str, meaning: str) -> list[DataSet]:
    """A sequence of one coded value."""
    return [{0x00080100: value, 0x00080102: scheme, 0x00080104: meaning}]


def issuer(oid: str) -> list[DataSet]:
    """A sequence that says who issued an identifier."""
    return [{0x00400032: oid, 0x00400033: "ISO"}]


def reference(sop_class: str, uid: str) -> DataSet:
    """An instance by class and UID."""
    return {0x00081150: sop_class, 0x00081155: uid}


def manifest() -> DataSet:
    """A manifest of one study with images, a presentation state and an ECG."""
    return {
        0x00080005: "ISO_IR 192",
        0x00080012: "20260301",
        0x00080013: "101500",
        0x00080016: KOS,
        0x00080018: "2.25.1001",
        0x00080020: "20260228",
        0x00080023: "20260301",
        0x00080030: "093000",
        0x00080033: "101500",
        0x00080050: "A123",
        0x00080051: issuer("1.2.3.4"),
        0x00080060: "KO",
        0x00080070: "Example Maker",
        0x00080080: "Example Hospital",
        0x00080090: "",
        0x00080201: "+0100",
        0x00081111: [],
        0x00100010: "Müller^Jane",
        0x00100020: "P1",
        0x00100024: issuer("1.2.3.9"),
        0x00100030: "19700101",
        0x00100040: "F",
        0x0020000D: STUDY,
        0x0020000E: "2.25.1000",
        0x00200010: "S1",
        0x00200011: "59",
        0x00200013: "1",
        0x0040A040: "CONTAINER",
        0x0040A043: code("113030", "DCM", "Manifest"),
        0x0040A050: "SEPARATE",
        0x0040A370: [request()],
        0x0040A375: [{0x0020000D: STUDY, 0x00081115: [series(uid) for uid in SERIES]}],
        0x0040A504: [{0x00080105: "DCMR", 0x0040DB00: "2010"}],
        0x0040A730: [
            {0x0040A010: "CONTAINS", 0x0040A040: value_type, 0x00081199: [reference(sop_class, uid)]}
            for instances in SERIES.values()
            for sop_class, uid, value_type in instances
        ],
    }


def request() -> DataSet:
    """What was ordered."""
    return {
        0x0020000D: STUDY,
        0x00080050: "A123",
        0x00080051: issuer("1.2.3.4"),
        0x00081110: [],
        0x00402016: "PL7",
        0x00400026: issuer("1.2.3.5"),
        0x00402017: "",
        0x00401001: "",
        0x00321060: "",
        0x00321064: [],
    }


def series(uid: str) -> DataSet:
    """A series item of the evidence."""
    return {
        0x0020000E: uid,
        0x00080054: "ARCHIVE1",
        0x0040E011: "1.2.3.77",
        0x00081190: "https://pacs.example.org/dicom-web",
        0x00081199: [reference(sop_class, instance) for sop_class, instance, _ in SERIES[uid]],
    }


# --- what is done to a manifest ----------------------------------------------------------------------

Path = tuple[int, ...]
Change = Callable[[DataSet], object]


def at(data_set: DataSet, path: Path) -> DataSet:
    """The item at a path of tags and numbers of items, which begin with 0."""
    for tag, number in zip(path[::2], path[1::2], strict=True):
        items = data_set[tag]
        if not isinstance(items, list):
            raise TypeError(f"{tag:08X} is no sequence")
        data_set = items[number]
    return data_set


def without(*path: int) -> Change:
    """Take an attribute away."""
    return lambda data_set: at(data_set, path[:-1]).pop(path[-1])


def with_value(value: str | Raw | list[DataSet], *path: int) -> Change:
    """Give an attribute another value."""
    return lambda data_set: at(data_set, path[:-1]).update({path[-1]: value})


def with_item(item: DataSet, *path: int) -> Change:
    """Append an item to a sequence."""

    def append(data_set: DataSet) -> None:
        items = at(data_set, path[:-1])[path[-1]]
        assert isinstance(items, list)
        items.append(item)

    return append


def without_item(number: int, *path: int) -> Change:
    """Take an item out of a sequence."""

    def remove(data_set: DataSet) -> None:
        items = at(data_set, path[:-1])[path[-1]]
        assert isinstance(items, list)
        del items[number]

    return remove


def both(*changes: Change) -> Change:
    """One change after the other."""
    return lambda data_set: [change(data_set) for change in changes]


_EVIDENCE: Final = 0x0040A375
_TREE: Final = 0x0040A730
_FIRST_SERIES: Final = (_EVIDENCE, 0, 0x00081115, 0)
_FIRST_INSTANCE: Final = (*_FIRST_SERIES, 0x00081199, 0)
_TITLE: Final = 0x0040A043

MUTATIONS: Final[dict[str, tuple[str, Change]]] = {
    "SOP class of Enhanced SR": ("KOS-001", with_value("1.2.840.10008.5.1.4.1.1.88.22", 0x00080016)),
    "Modality SR": ("KOS-002", with_value("SR", 0x00080060)),
    "no Patient's Birth Date": ("KOS-003", without(0x00100030)),
    "empty Patient ID": ("KOS-004", with_value("", 0x00100020)),
    "no Study Time": ("KOS-005", without(0x00080030)),
    "no Study Instance UID": ("KOS-005", without(0x0020000D)),
    "no Series Number": ("KOS-006", without(0x00200011)),
    "no Referenced Performed Procedure Step Sequence": ("KOS-007", without(0x00081111)),
    "no Manufacturer": ("KOS-008", without(0x00080070)),
    "empty Content Date": ("KOS-009", with_value("", 0x00080023)),
    "no Instance Number": ("KOS-009", without(0x00200013)),
    "no SOP Instance UID": ("KOS-010", without(0x00080018)),
    "no evidence": ("KOS-011", without(_EVIDENCE)),
    "empty evidence": ("KOS-011", with_value([], _EVIDENCE)),
    "a study without series": ("KOS-012", with_value([], _EVIDENCE, 0, 0x00081115)),
    "a series without UID": ("KOS-013", without(*_FIRST_SERIES, 0x0020000E)),
    "a series without instances": ("KOS-013", with_value([], *_FIRST_SERIES, 0x00081199)),
    "an instance without class": ("KOS-014", without(*_FIRST_INSTANCE, 0x00081150)),
    "no Retrieve AE Title": ("KOS-015", without(*_FIRST_SERIES, 0x00080054)),
    "no Retrieve Location UID": ("KOS-016", without(*_FIRST_SERIES, 0x0040E011)),
    "a Retrieve URL of a study": (
        "KOS-017",
        with_value("https://pacs.example.org/dicom-web/studies/2.25.500", *_FIRST_SERIES, 0x00081190),
    ),
    "a Retrieve URL without scheme": ("KOS-017", with_value("pacs/dicom-web", *_FIRST_SERIES, 0x00081190)),
    "Retrieve Location UID in the study item": ("KOS-018", with_value("1.2.3.77", _EVIDENCE, 0, 0x0040E011)),
    "Retrieve AE Title in the instance items": (
        "KOS-018",
        both(
            without(_EVIDENCE, 0, 0x00081115, 1, 0x00080054),
            with_value("ARCHIVE1", _EVIDENCE, 0, 0x00081115, 1, 0x00081199, 0, 0x00080054),
        ),
    ),
    "in a series that it references": ("KOS-019", with_value("2.25.501", 0x0020000E)),
    "it references itself": (
        "KOS-020",
        both(
            with_item(reference(KOS, "2.25.1001"), *_FIRST_SERIES, 0x00081199),
            with_item(
                {
                    0x0040A010: "CONTAINS",
                    0x0040A040: "COMPOSITE",
                    0x00081199: [reference(KOS, "2.25.1001")],
                },
                _TREE,
            ),
        ),
    ),
    "a study of its own": ("KOS-021", with_value("2.25.999", 0x0020000D)),
    "two studies without copies": (
        "KOS-022",
        with_item({0x0020000D: "2.25.600", 0x00081115: [series("2.25.503")]}, _EVIDENCE),
    ),
    "two studies": (
        "KOS-023",
        with_item({0x0020000D: "2.25.600", 0x00081115: [series("2.25.503")]}, _EVIDENCE),
    ),
    "an instance twice": (
        "KOS-024",
        with_item(reference(CT, "2.25.5011"), *_FIRST_SERIES, 0x00081199),
    ),
    "no Value Type": ("KOS-030", without(0x0040A040)),
    "no title": ("KOS-031", without(_TITLE)),
    "two titles": (
        "KOS-031",
        with_value(code("113030", "DCM", "Manifest") + code("113000", "DCM", "Of Interest"), _TITLE),
    ),
    "a title of another scheme": ("KOS-032", with_value(code("113030", "99X", "Manifest"), _TITLE)),
    "no Continuity Of Content": ("KOS-033", without(0x0040A050)),
    "no Content Template Sequence": ("KOS-034", without(0x0040A504)),
    "another template": ("KOS-034", with_value("2000", 0x0040A504, 0, 0x0040DB00)),
    "another meaning of the title": ("KOS-035", with_value("Of Interest", _TITLE, 0, 0x00080104)),
    "no content": ("KOS-036", with_value([], _TREE)),
    "the title Of Interest": ("KOS-037", with_value(code("113000", "DCM", "Of Interest"), _TITLE)),
    "a number in the tree": (
        "KOS-038",
        with_item({0x0040A010: "CONTAINS", 0x0040A040: "NUM"}, _TREE),
    ),
    "a reference that is INFERRED FROM": ("KOS-038", with_value("INFERRED FROM", _TREE, 0, 0x0040A010)),
    "an Image Library": (
        "KOS-038",
        with_item(
            {
                0x0040A010: "CONTAINS",
                0x0040A040: "CONTAINER",
                0x0040A043: code("111028", "DCM", "Image Library"),
            },
            _TREE,
        ),
    ),
    "a reference with a concept name": (
        "KOS-039",
        with_value(code("121079", "DCM", "Baseline"), _TREE, 0, _TITLE),
    ),
    "an instance that the tree lacks": ("KOS-040", without_item(1, _TREE)),
    "a reference without UID": ("KOS-041", without(_TREE, 0, 0x00081199, 0, 0x00081155)),
    "a reference of two instances": (
        "KOS-041",
        with_item(reference(CT, "2.25.5012"), _TREE, 0, 0x00081199),
    ),
    "an instance that the evidence lacks": ("KOS-042", without_item(1, *_FIRST_SERIES, 0x00081199)),
    "Best In Set without modifier": ("KOS-043", with_value(code("113013", "DCM", "Best In Set"), _TITLE)),
    "a Completion Flag": ("KOS-044", with_value("COMPLETE", 0x0040A491)),
    "rows and columns": ("KOS-045", with_value(Raw("US", b"\0\1"), 0x00280010)),
    "another class in the tree": (
        "KOS-046",
        with_value("1.2.840.10008.5.1.4.1.1.4", _TREE, 0, 0x00081199, 0, 0x00081150),
    ),
    "a presentation state as IMAGE": ("KOS-047", with_value("IMAGE", _TREE, 2, 0x0040A040)),
    "an ECG as COMPOSITE": ("KOS-047", with_value("COMPOSITE", _TREE, 3, 0x0040A040)),
    "a rejection note": (
        "KOS-048",
        with_value(code("113001", "DCM", "Rejected for Quality Reasons"), _TITLE),
    ),
    "a request without study": ("KOS-049", without(0x0040A370, 0, 0x0020000D)),
    "a request without filler order number": ("KOS-049", without(0x0040A370, 0, 0x00402017)),
    "an issuer without type": ("KOS-050", without(0x00080051, 0, 0x00400033)),
    "an issuer that is no OID": ("KOS-050", with_value("Example", 0x00100024, 0, 0x00400032)),
    "an issuer in the birth time": (
        "KOS-051",
        with_value([{0x00100032: "1.2.3.4", 0x00100033: Raw("CS", b"ISO ")}], 0x00080051),
    ),
    "no Instance Creation Time": ("KOS-052", without(0x00080013)),
    "no Timezone Offset": ("KOS-053", without(0x00080201)),
    "another patient id without type": (
        "KOS-054",
        with_value([{0x00100020: "P2", 0x00100024: issuer("1.2.3.9")}], 0x00101002),
    ),
    "sex U": ("KOS-055", with_value("U", 0x00100040)),
    "a request of another study": ("KOS-056", with_value("2.25.777", 0x0040A370, 0, 0x0020000D)),
    "a series twice": (
        "KOS-057",
        with_item({**series("2.25.501"), 0x00081199: [reference(CT, "2.25.5013")]}, _EVIDENCE, 0, 0x00081115),
    ),
    "a UID with a leading zero": ("DCM-007", with_value("2.25.0500", 0x0020000D)),
    "a UID of 65 characters": ("DCM-007", with_value("1." * 32 + "1", 0x00080018)),
    "a UID padded with a blank": ("DCM-007", with_value(Raw("UI", b"2.25.1000 "), 0x0020000E)),
    "a date with dashes": ("DCM-008", with_value("2026-02-28", 0x00080020)),
    "a time with colons": ("DCM-016", with_value("09:30:00", 0x00080030)),
    "an accession number of 17 characters": ("DCM-009", with_value("A" * 17, 0x00080050)),
    "an institution of 65 characters": ("DCM-009", with_value("H" * 65, 0x00080080)),
    "an AE title of 17 characters": ("DCM-009", with_value("A" * 17, *_FIRST_SERIES, 0x00080054)),
    "a modality in small letters": ("DCM-009", with_value("ko", 0x00080060)),
    "text beyond ASCII without character set": ("DCM-010", without(0x00080005)),
    "an unknown character set": ("DCM-010", with_value("ISO_IR 999", 0x00080005)),
    "Latin-1 as UTF-8": ("DCM-010", with_value(Raw("PN", b"M\xfcller^Ja "), 0x00100010)),
    "a name as LO": ("DCM-006", with_value(Raw("LO", b"Doe^Jane"), 0x00100010)),
}


def examples() -> Iterator[Example]:
    """Good and broken manifests, and files that are broken around them."""
    good = manifest()
    yield from mutated(KIND, "manifest", good, part10, MUTATIONS)
    implicit = "1.2.840.10008.1.2"
    encoded = encode(good)
    files: dict[str, tuple[str, Callable[[], bytes]]] = {
        "undefined lengths": ("", lambda: part10(good, encoded=encode(good, undefined=True))),
        "Implicit VR": (
            "DCM-014",
            lambda: part10(good, syntax=implicit, encoded=encode(good, explicit=False)),
        ),
        "deflated": ("DCM-014", lambda: part10(good, syntax="1.2.840.10008.1.2.1.99")),
        "no preamble": ("DCM-001", lambda: part10(good, preamble=False)),
        "no File Meta Information": ("DCM-002", lambda: part10(good, meta={})),
        "no Transfer Syntax UID": ("DCM-002", lambda: part10(good, meta={0x00020010: ""})),
        "another instance in group 0002": ("DCM-003", lambda: part10(good, meta={0x00020003: "2.25.9"})),
        "elements out of order": (
            "DCM-004",
            lambda: part10(good, encoded=encoded + encode({0x00080060: "KO"})),
        ),
        "an odd length": (
            "DCM-005",
            lambda: part10({**good, 0x00080080: Raw("LO", b"Hospital1")}),
        ),
        "cut off": ("DCM-011", lambda: part10(good)[:-7]),
        "Implicit VR as Explicit": (
            "DCM-012",
            lambda: part10(good, encoded=encode(good, explicit=False)),
        ),
        "Big Endian": ("DCM-013", lambda: part10(good, syntax="1.2.840.10008.1.2.2", encoded=b"")),
        "an image": ("DCM-015", partial(part10, {0x00080016: CT, 0x00080018: "2.25.5011"})),
    }
    for name, (id, build) in files.items():
        yield Example(f"file: {name}", KIND, build(), id)
