"""The Image Library of a Manifest with Description (RAD MADO; PS3.16 TID 1600, 1601, 1602 and 1609): what
each series and instance is, so that a consumer can choose before it retrieves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from imaging_source.domain import codes
from imaging_source.domain.content_items import code_item, reference_item
from imaging_source.domain.instance import KeyObjectHeader, SeriesHeader, StudyHeader
from imaging_source.domain.value_types import value_type
from shared.ebrim.model import Code
from shared.imaging import legal
from shared.imaging.instance import Instance

_LIBRARY: Final = Code("111028", "DCM", "Image Library")
_GROUP: Final = Code("126200", "DCM", "Image Library Group")
_MODALITY: Final = Code("121139", "DCM", "Modality")
_TARGET_REGION: Final = Code("123014", "DCM", "Target Region")
_SERIES_COUNT: Final = Code("131565", "DCM", "Number of Study Related Series")
_INSTANCE_COUNT: Final = Code("131564", "DCM", "Number of Series Related Instances")
_SERIES_UID: Final = Code("112002", "DCM", "Series Instance UID")
_SERIES_DATE: Final = Code("131561", "DCM", "Series Date")
_SERIES_TIME: Final = Code("131562", "DCM", "Series Time")
_SERIES_DESCRIPTION: Final = Code("131563", "DCM", "Series Description")
_SERIES_NUMBER: Final = Code("113607", "DCM", "Series Number")
_INSTANCE_NUMBER: Final = Code("113609", "DCM", "Instance Number")
_FRAMES: Final = Code("121140", "DCM", "Number of Frames")
_DOCUMENT_TITLE: Final = Code("121144", "DCM", "Document Title")
_DESCRIPTION: Final = Code("113012", "DCM", "Key Object Description")
#: Characters of a description, which is not bounded by its VR.
_MOST_DESCRIPTION: Final = 1024
_PROCEDURE: Final = Code("121023", "DCM", "Procedure Code")


def image_library(
    header: StudyHeader, ordered: Iterable[Instance], *, body_parts: Mapping[str, Code]
) -> Dataset:
    """The library of a study.

    Parameters
    ----------
    ordered
        What the evidence names, in its order.
    body_parts
        A site's own codes by Body Part Examined, which go before those of DICOM.
    """
    groups = [
        (uid, list(instances)) for uid, instances in groupby(ordered, key=attrgetter("series_instance_uid"))
    ]
    series = {each.series_instance_uid: each for each in header.series}
    notes = {each.sop_instance_uid: each for each in header.key_objects}
    modalities = dict.fromkeys(codes.series_modality(instances[0].modality) for _, instances in groups)
    fine = [*header.anatomic_regions, *codes.of_body_parts(header.body_parts, body_parts)]
    return _container(
        _LIBRARY,
        (
            *(_coded(_MODALITY, code) for code in modalities),
            # To be found by a region that is too wide is better than by none.
            *(_coded(_TARGET_REGION, code) for code in codes.target_regions(fine) or (codes.ENTIRE_BODY,)),
            _number(_SERIES_COUNT, len(groups), "series"),
            *(
                _group(series.get(uid, SeriesHeader(series_instance_uid=uid)), instances, notes, body_parts)
                for uid, instances in groups
            ),
        ),
    )


def procedures(header: StudyHeader) -> Iterator[Dataset]:
    """The procedure codes of the study, which modify the title (TID 2010 as amended by CP-2595)."""
    for code in header.procedure_codes:
        if legal.plain(code.scheme):
            item = _coded(_PROCEDURE, code)
            item.RelationshipType = "HAS CONCEPT MOD"
            yield item


def _group(
    series: SeriesHeader,
    instances: list[Instance],
    notes: Mapping[str, KeyObjectHeader],
    body_parts: Mapping[str, Code],
) -> Dataset:
    return _container(
        _GROUP,
        (
            _coded(_MODALITY, codes.series_modality(instances[0].modality)),
            _item(_SERIES_UID, "UIDREF", UID=series.series_instance_uid),
            *_of_series(series),
            *_numbered(_SERIES_NUMBER, instances[0].series_number),
            *_regions(series, body_parts),
            _number(_INSTANCE_COUNT, len(instances), "instances"),
            *(_entry(instance, notes.get(instance.sop_instance_uid)) for instance in instances),
        ),
    )


def _of_series(series: SeriesHeader) -> Iterator[Dataset]:
    if date := legal.date(series.date):
        yield _item(_SERIES_DATE, "DATE", Date=date)
        if time := legal.time(series.time):
            yield _item(_SERIES_TIME, "TIME", Time=time)
    if description := legal.text(series.description):
        yield _text(_SERIES_DESCRIPTION, description)


def _regions(series: SeriesHeader, body_parts: Mapping[str, Code]) -> Iterator[Dataset]:
    """What the series is of, by a code, or as a text where none is known for it."""
    regions = series.regions or tuple(codes.of_body_parts(series.body_parts, body_parts))
    if regions:
        yield _coded(_TARGET_REGION, codes.in_data_set(regions[0]))
    elif text := legal.text(", ".join(series.body_parts)):
        yield _text(_TARGET_REGION, text)


def _entry(instance: Instance, note: KeyObjectHeader | None) -> Dataset:
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = value_type(instance.sop_class_uid)
    item.ReferencedSOPSequence = Sequence([reference_item(instance)])
    children = [*_numbered(_INSTANCE_NUMBER, instance.instance_number)]
    if instance.number_of_frames > 1:
        children.append(_number(_FRAMES, instance.number_of_frames, "frames"))
    if note is not None and note.title.value:
        children.append(_coded(_DOCUMENT_TITLE, note.title))
        if description := legal.text(note.description, _MOST_DESCRIPTION):
            children.append(_text(_DESCRIPTION, description))
    if children:
        item.ContentSequence = Sequence(children)
    return item


# --- content items -----------------------------------------------------------------------------------


def _container(concept: Code, children: Iterable[Dataset]) -> Dataset:
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "CONTAINER"
    item.ConceptNameCodeSequence = Sequence([code_item(concept)])
    item.ContinuityOfContent = "SEPARATE"
    item.ContentSequence = Sequence(children)
    return item


def _item(concept: Code, type_of_value: str, **value: object) -> Dataset:
    item = Dataset()
    item.RelationshipType = "HAS ACQ CONTEXT"
    item.ValueType = type_of_value
    item.ConceptNameCodeSequence = Sequence([code_item(concept)])
    for keyword, each in value.items():
        setattr(item, keyword, each)
    return item


def _coded(concept: Code, code: Code) -> Dataset:
    return _item(concept, "CODE", ConceptCodeSequence=Sequence([code_item(code)]))


def _text(concept: Code, text: str) -> Dataset:
    return _item(concept, "TEXT", TextValue=text)


def _numbered(concept: Code, number: int | None) -> Iterator[Dataset]:
    """A number that is a name, and so a text; nothing where there is none."""
    if number is not None:
        yield _text(concept, str(number))


def _number(concept: Code, number: int, unit: str) -> Dataset:
    measured = Dataset()
    measured.NumericValue = str(number)
    measured.MeasurementUnitsCodeSequence = Sequence([code_item(Code(f"{{{unit}}}", "UCUM", unit))])
    return _item(concept, "NUM", MeasuredValueSequence=Sequence([measured]))
