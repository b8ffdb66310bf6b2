"""Reading a Key Object Selection Document as an imaging manifest (DICOM PS3.3 C.17.6; RAD TF-3 4.68).

Tolerances, for manifests that are in the field: Retrieve attributes in the instance item (they win) or in the
study item instead of the series item; several studies; a series item repeated; any title; Implicit VR
and deflated encoding; no Content Template Sequence; UIDs padded with blanks or NUL; references without SOP
class, and references that name nothing, which are left out and told. The content tree is not read: the
evidence sequence names every instance (PS3.3 C.17.6.2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from json import loads
from math import inf
from operator import itemgetter
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from shared.dicom import json
from shared.dicom.character_sets import decode, encodings_of
from shared.dicom.json import Attributes
from shared.dicom.part10 import BeyondLimit, DataSet, DicomError, Limits, LongSequence, Part10, scan
from shared.dicom.uids import KEY_OBJECT_SELECTION, is_uid

MAX_BYTES: Final = 64 * 1024**2
#: References that are read unless fewer are wanted.
MOST_REFERENCES: Final = 100_000

# Referenced SOP Instance UID in both byte orders. An instance stands in the evidence, in the content tree and
# maybe among identical documents; with the tag more often there are too many references.
_REFERENCE_TAGS: Final = (b"\x08\x00\x55\x11", b"\x00\x08\x11\x55")
_TIMES_NAMED: Final = 4
# Elements that one reference may take in all its places, and those of the rest of a document.
_ELEMENTS_EACH: Final = 30
_ELEMENTS_BESIDE: Final = 100_000
_READ_BYTES: Final = 1024**2

_CHARACTER_SET: Final = 0x00080005
_SOP_CLASS_UID: Final = 0x00080016
_SOP_INSTANCE_UID: Final = 0x00080018
_STUDY_DATE: Final = 0x00080020
_STUDY_TIME: Final = 0x00080030
_ACCESSION_NUMBER: Final = 0x00080050
_MODALITY: Final = 0x00080060
_SERIES_DESCRIPTION: Final = 0x0008103E
_SERIES_NUMBER: Final = 0x00200011
_INSTANCE_NUMBER: Final = 0x00200013
_RETRIEVE_AE_TITLE: Final = 0x00080054
_CODE_VALUE: Final = 0x00080100
_STUDY_DESCRIPTION: Final = 0x00081030
_REFERENCED_SERIES: Final = 0x00081115
_REFERENCED_SOP_CLASS_UID: Final = 0x00081150
_REFERENCED_SOP_INSTANCE_UID: Final = 0x00081155
_RETRIEVE_URL: Final = 0x00081190
_REFERENCED_SOP: Final = 0x00081199
_PATIENT_NAME: Final = 0x00100010
_PATIENT_ID: Final = 0x00100020
_STUDY_INSTANCE_UID: Final = 0x0020000D
_SERIES_INSTANCE_UID: Final = 0x0020000E
_TITLE: Final = 0x0040A043
_EVIDENCE: Final = 0x0040A375
_RETRIEVE_LOCATION_UID: Final = 0x0040E011

_READ: Final = frozenset(
    {
        _CHARACTER_SET,
        _SOP_CLASS_UID,
        _SOP_INSTANCE_UID,
        _STUDY_DATE,
        _STUDY_TIME,
        _ACCESSION_NUMBER,
        _STUDY_DESCRIPTION,
        _PATIENT_NAME,
        _PATIENT_ID,
        _STUDY_INSTANCE_UID,
        _TITLE,
    }
)

_ITEMS: Final = {
    _STUDY_INSTANCE_UID: "studies",
    _SERIES_INSTANCE_UID: "series",
    _REFERENCED_SOP_INSTANCE_UID: "references",
}


class ManifestError(ValueError):
    """The bytes are no manifest that is read here, whatever its encoding; the text says why."""


class KosError(ManifestError):
    """The bytes are not a Key Object Selection Document with references; the text says why."""


class TooManyReferences(ManifestError):
    """The document may be a good manifest, of more instances than are read here."""

    def __init__(self, most: int) -> None:
        super().__init__(f"it references more than {most} instances")
        self.most = most


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencedInstance:
    """One instance of a manifest; `sop_class_uid` is empty when the manifest does not say."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencedSeries:
    """Instances of one series that are retrieved from one place; each name of the place may be empty.

    A series whose instances lie in several places appears once for each place. `modality`, `number` and
    `description` are what its item says of it for those who show it, which it need not. `retrieve_url` is the
    base URI of a WADO-RS service, without `/studies/…` and without trailing slash; it is data from outside
    and no permission to connect.
    """

    series_instance_uid: str
    retrieve_ae_title: str = ""
    retrieve_location_uid: str = ""
    retrieve_url: str = ""
    modality: str = ""
    number: str = ""
    description: str = ""
    instances: tuple[ReferencedInstance, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencedStudy:
    """One study of a manifest."""

    study_instance_uid: str
    series: tuple[ReferencedSeries, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a consumer takes from a manifest: what it references and where that lies.

    `title` is the code of the document title (CID 7010), `113030` for a manifest; any other is accepted,
    since the formatCode of the registered entry makes a manifest of it. `study_date` and `study_time` are
    those of the study that it belongs to, as its source keeps them. `faults` tell what was left out because
    it does not say what it references, one sentence for each kind.
    """

    sop_instance_uid: str
    study_instance_uid: str
    title: str = ""
    patient_id: str = ""
    patient_name: str = ""
    study_date: str = ""
    study_time: str = ""
    accession_number: str = ""
    study_description: str = ""
    studies: tuple[ReferencedStudy, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def instances(self) -> Iterator[tuple[ReferencedStudy, ReferencedSeries, ReferencedInstance]]:
        """Every reference with its study and series: in the order of the document, and within a series in
        that of Instance Number where references say it."""
        for study in self.studies:
            for series in study.series:
                for instance in series.instances:
                    yield study, series, instance


def read_manifest(source: bytes | Path, *, most: int = MOST_REFERENCES) -> Manifest:
    """Read a Part 10 file, or its bytes, that hold a Key Object Selection Document.

    At most `most` references are read, one after the other from the file, so that memory grows with what is
    returned alone. Heavy for large manifests (about 40 µs for each instance): call it in a thread.

    Raises
    ------
    TooManyReferences
        There are more; known by a count before anything is read, and at the latest when the next is met.
    KosError
        Not Part 10, another SOP class, no reference that can be followed, or too large.
    """
    length = source.stat().st_size if isinstance(source, Path) else len(source)
    if length > MAX_BYTES:
        raise KosError(f"a manifest has at most {MAX_BYTES} bytes, not {length}")
    if _times_named(source) > _TIMES_NAMED * most:
        raise TooManyReferences(most)
    try:
        return _manifest(_scan(source, most), most)
    except BeyondLimit:
        raise TooManyReferences(most) from None
    except DicomError as error:
        raise KosError(str(error)) from None


def _times_named(source: bytes | Path) -> int:
    if isinstance(source, bytes):
        return max(map(source.count, _REFERENCE_TAGS))
    with source.open("rb") as file:
        pieces = iter(lambda: file.read(_READ_BYTES), b"")
        return sum(max(map(piece.count, _REFERENCE_TAGS)) for piece in pieces)


def _scan(source: bytes | Path, most: int) -> Part10:
    limits = Limits(elements=_ELEMENTS_BESIDE + _ELEMENTS_EACH * most, sequence=64 * 1024, inflated=MAX_BYTES)
    if isinstance(source, Path):
        return scan(source, limits)
    with NamedTemporaryFile() as file:
        file.write(source)
        file.flush()
        return scan(Path(file.name), limits)


def _manifest(scanned: Part10, most: int) -> Manifest:
    encoded = json.encode(scanned.data_set, lambda _: "", only=_READ, big_endian=scanned.big_endian)
    attributes: Attributes = loads(encoded)
    if json.text(attributes, _SOP_CLASS_UID) != KEY_OBJECT_SELECTION:
        raise KosError(
            f"SOP Class UID is not that of a Key Object Selection Document, {KEY_OBJECT_SELECTION}"
        )
    evidence = _Evidence(most, _encodings(scanned.data_set))
    studies = tuple(evidence.studies(scanned.data_set))
    if not any(series.instances for study in studies for series in study.series):
        faults = "".join(f"; {fault}" for fault in _faults(evidence.nameless))
        raise KosError(
            f"the Current Requested Procedure Evidence Sequence (0040,A375) references no instance{faults}"
        )
    return Manifest(
        sop_instance_uid=_required(attributes, _SOP_INSTANCE_UID),
        study_instance_uid=json.text(attributes, _STUDY_INSTANCE_UID),
        title=next((json.text(code, _CODE_VALUE) for code in json.items(attributes, _TITLE)), ""),
        patient_id=json.text(attributes, _PATIENT_ID),
        patient_name=json.text(attributes, _PATIENT_NAME),
        study_date=json.text(attributes, _STUDY_DATE),
        study_time=json.text(attributes, _STUDY_TIME),
        accession_number=json.text(attributes, _ACCESSION_NUMBER),
        study_description=json.text(attributes, _STUDY_DESCRIPTION),
        studies=studies,
        faults=tuple(_faults(evidence.nameless)),
    )


def _faults(nameless: Counter[int]) -> Iterator[str]:
    for tag, count in sorted(nameless.items()):
        yield f"{count} {_ITEMS[tag]} left out: no UID in ({tag >> 16:04X},{tag & 0xFFFF:04X})"


_OF_A_PLACE: Final = frozenset({_RETRIEVE_AE_TITLE, _RETRIEVE_LOCATION_UID, _RETRIEVE_URL})
_MOST_CLASSES: Final = 1_000
_LONGEST_DESCRIPTION: Final = 256
_LONGEST_NUMBER: Final = 12


@dataclass(frozen=True, slots=True)
class _Place:
    ae_title: str = ""
    location_uid: str = ""
    url: str = ""


def _place(item: DataSet, outer: _Place) -> _Place:
    """The place that `item` names; what it leaves out is that of the item around it."""
    if item.keys().isdisjoint(_OF_A_PLACE):
        return outer
    return _Place(
        _text(item, _RETRIEVE_AE_TITLE) or outer.ae_title,
        _text(item, _RETRIEVE_LOCATION_UID) or outer.location_uid,
        _base_url(_text(item, _RETRIEVE_URL)) or outer.url,
    )


def _base_url(url: str) -> str:
    return url.partition("/studies/")[0].removesuffix("/studies").rstrip("/")


class _Evidence:
    """Reads the evidence sequence, at most `most` references of it; `nameless` counts what names nothing."""

    def __init__(self, most: int, encodings: tuple[str, ...]) -> None:
        self.nameless: Counter[int] = Counter()
        self._encodings = encodings
        self._most = self._left = most
        self._uids: dict[str, str] = {}

    def studies(self, data_set: DataSet) -> Iterator[ReferencedStudy]:
        """The studies, one for each item that names one."""
        for item in _items(data_set, _EVIDENCE):
            if study_instance_uid := self._uid(item, _STUDY_INSTANCE_UID):
                place = _place(item, _Place())
                yield ReferencedStudy(
                    study_instance_uid=study_instance_uid, series=tuple(self._all_series(item, place))
                )
            else:
                self.nameless[_STUDY_INSTANCE_UID] += 1

    def _all_series(self, study: DataSet, outer: _Place) -> Iterator[ReferencedSeries]:
        for item in _items(study, _REFERENCED_SERIES):
            if series_instance_uid := self._uid(item, _SERIES_INSTANCE_UID):
                yield from self._series(item, series_instance_uid, outer)
            else:
                self.nameless[_SERIES_INSTANCE_UID] += 1

    def _series(self, item: DataSet, series_instance_uid: str, outer: _Place) -> Iterator[ReferencedSeries]:
        place = _place(item, outer)
        by_place: dict[_Place, list[tuple[float, ReferencedInstance]]] = {}
        for reference in _items(item, _REFERENCED_SOP):
            self._left -= 1
            if self._left < 0:
                raise TooManyReferences(self._most)
            if sop_instance_uid := self._uid(reference, _REFERENCED_SOP_INSTANCE_UID):
                instance = ReferencedInstance(
                    sop_class_uid=self._shared(_text(reference, _REFERENCED_SOP_CLASS_UID)),
                    sop_instance_uid=sop_instance_uid,
                )
                by_place.setdefault(_place(reference, place), []).append((_number(reference), instance))
            else:
                self.nameless[_REFERENCED_SOP_INSTANCE_UID] += 1
        for at, instances in by_place.items():
            yield ReferencedSeries(
                series_instance_uid=series_instance_uid,
                retrieve_ae_title=at.ae_title,
                retrieve_location_uid=at.location_uid,
                retrieve_url=at.url,
                modality=_text(item, _MODALITY),
                number=_text(item, _SERIES_NUMBER),
                description=self._described(item),
                # Some makers say Instance Number (2023 drafts); what says none keeps its place, behind.
                instances=tuple(instance for _, instance in sorted(instances, key=itemgetter(0))),
            )

    def _described(self, series: DataSet) -> str:
        element = series.get(_SERIES_DESCRIPTION)
        if element is None or not isinstance(element.value, bytes):
            return ""
        return decode(element.value[:_LONGEST_DESCRIPTION], self._encodings)[0].strip(" \0")

    def _uid(self, item: DataSet, tag: int) -> str:
        """The UID at `tag`; empty when there is none, or something else."""
        uid = _text(item, tag)
        return uid if is_uid(uid) else ""

    def _shared(self, uid: str) -> str:
        """One string for a SOP class that thousands of references name."""
        return self._uids.setdefault(uid, uid) if len(self._uids) < _MOST_CLASSES else uid


def _encodings(data_set: DataSet) -> tuple[str, ...]:
    element = data_set.get(_CHARACTER_SET)
    terms = element.value if element is not None and isinstance(element.value, bytes) else b""
    return encodings_of(terms)[0]


def _items(item: DataSet, tag: int) -> Iterator[DataSet]:
    element = item.get(tag)
    if element is not None and isinstance(element.value, tuple | LongSequence):
        yield from element.value


def _text(item: DataSet, tag: int) -> str:
    """The first value at `tag`, of a VR that is ASCII; empty when there is none."""
    element = item.get(tag)
    if element is None or not isinstance(element.value, bytes):
        return ""
    return element.value.partition(b"\\")[0].decode("ascii", "replace").strip(" \0")


def _number(reference: DataSet) -> float:
    text = _text(reference, _INSTANCE_NUMBER)
    return float(text) if text.isdecimal() and len(text) <= _LONGEST_NUMBER else inf


def _required(item: Attributes, tag: int) -> str:
    if uid := json.text(item, tag):
        return uid
    raise KosError(f"a UID is absent or empty: ({tag >> 16:04X},{tag & 0xFFFF:04X})")
