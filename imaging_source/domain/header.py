"""What the instances of a study tell about patient, study and requests, gathered for its manifest.

The values come from the DICOM JSON that intake keeps of every instance, restricted to `HEADER_TAGS`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

from imaging_source.domain.instance import KeyObjectHeader, RequestReference, SeriesHeader, StudyHeader
from shared.dicom.character_sets import encoding_of
from shared.dicom.json import CHARACTER_SET, Attributes, items, text, texts
from shared.ebrim.model import Code
from shared.imaging import legal
from shared.imaging.description import patient_issuer
from shared.imaging.instance import Issuer

_CONCEPT_NAME: Final = 0x0040A043
_KEY_OBJECT_DESCRIPTION: Final = "113012"


def study_header(
    study_instance_uid: str, headers: Sequence[Attributes], key_objects: Iterable[Attributes] = ()
) -> StudyHeader:
    """Gather the attributes of one study from headers of its instances, the first that has a value first.

    `headers` are of one instance of each series, `key_objects` the metadata of each Key Object Selection
    Document.
    """
    requests = tuple(dict.fromkeys(_requests(study_instance_uid, headers)))
    return StudyHeader(
        study_instance_uid=study_instance_uid,
        patient_id=_first(headers, 0x00100020),
        issuer_of_patient_id=_first_issuer(headers),
        other_patient_ids=tuple(dict.fromkeys(_other_patient_ids(headers))),
        patient_name=_first(headers, 0x00100010),
        patient_birth_date=_first(headers, 0x00100030),
        patient_sex=_first(headers, 0x00100040),
        study_date=_first(headers, 0x00080020),
        study_time=_first(headers, 0x00080030),
        other_dates=tuple(dict.fromkeys(_dates(headers))),
        timezone_offset=_first(headers, 0x00080201),
        referring_physician=_first(headers, 0x00080090),
        study_id=_first(headers, 0x00200010),
        study_description=_first(headers, 0x00081030),
        series_descriptions=_each(headers, 0x0008103E),
        protocol_names=_each(headers, 0x00181030),
        procedure_codes=_codes(headers, 0x00081032),
        accession_numbers=_accession_numbers(headers, requests),
        requests=requests,
        institution=_first(headers, 0x00080080),
        department=_first(headers, 0x00081040),
        manufacturer=_first(headers, 0x00080070),
        modalities=tuple(dict.fromkeys(map(legal.code_string, _each(headers, 0x00080060)))),
        body_parts=_each(headers, 0x00180015),
        anatomic_regions=_codes(headers, 0x00082218),
        series=tuple(map(_series, headers)),
        key_objects=tuple(map(_key_object, key_objects)),
        misread=any(map(_may_be_misread, headers)),
    )


def _series(header: Attributes) -> SeriesHeader:
    return SeriesHeader(
        series_instance_uid=text(header, 0x0020000E),
        description=text(header, 0x0008103E),
        date=text(header, 0x00080021),
        time=text(header, 0x00080031),
        regions=_codes((header,), 0x00082218),
        body_parts=_each((header,), 0x00180015),
    )


def _key_object(document: Attributes) -> KeyObjectHeader:
    title = next(map(code, items(document, _CONCEPT_NAME)), Code("", ""))
    descriptions = (
        text(item, 0x0040A160)
        for item in items(document, 0x0040A730)
        if any(text(name, 0x00080100) == _KEY_OBJECT_DESCRIPTION for name in items(item, _CONCEPT_NAME))
    )
    return KeyObjectHeader(
        sop_instance_uid=text(document, 0x00080018), title=title, description=next(descriptions, "")
    )


def _may_be_misread(header: Attributes) -> bool:
    written = json.dumps(header, ensure_ascii=False)
    if written.isascii():
        return False
    # Intake notes the character set of every instance, empty where it names none.
    noted = f"{CHARACTER_SET:08X}" in header
    terms = texts(header, CHARACTER_SET)
    every_term_known = bool(terms) and all(encoding_of(term) for term in terms)
    return "\ufffd" in written or (noted and not every_term_known)


def _first_issuer(headers: Iterable[Attributes]) -> Issuer:
    return next((issuer for issuer in map(patient_issuer, headers) if issuer != Issuer()), Issuer())


def _issuer(attributes: Attributes, tag: int) -> Issuer:
    item = next(iter(items(attributes, tag)), {})
    return Issuer(text(item, 0x00400031), text(item, 0x00400032), text(item, 0x00400033))


def _first(headers: Iterable[Attributes], tag: int) -> str:
    return next(filter(None, (text(header, tag) for header in headers)), "")


def _each(headers: Iterable[Attributes], tag: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for header in headers for value in texts(header, tag)))


_DATES: Final = (
    (0x00080021, 0x00080031),
    (0x00080022, 0x00080032),
    (0x00080023, 0x00080033),
    (0x00400244, 0x00400245),
)


def _dates(headers: Iterable[Attributes]) -> Iterable[tuple[str, str]]:
    for header in headers:
        for date, time in _DATES:
            if day := text(header, date):
                yield day, text(header, time)
        if moment := text(header, 0x0008002A):
            yield moment[:8], moment[8:]


def _codes(headers: Iterable[Attributes], tag: int) -> tuple[Code, ...]:
    codes = (code(item) for header in headers for item in items(header, tag))
    return tuple(dict.fromkeys(found_code for found_code in codes if found_code.value))


def code(item: Attributes) -> Code:
    """The code of a code sequence item (PS3.3 8): short, long or URN value, designator, meaning."""
    value = text(item, 0x00080100) or text(item, 0x00080119) or text(item, 0x00080120)
    return Code(*map(legal.plain, (value, text(item, 0x00080102), text(item, 0x00080104))))


def _other_patient_ids(headers: Iterable[Attributes]) -> Iterable[tuple[str, Issuer]]:
    for header in headers:
        for item in items(header, 0x00101002):
            if patient_id := text(item, 0x00100020):
                yield patient_id, patient_issuer(item)


def _requests(study_instance_uid: str, headers: Sequence[Attributes]) -> Iterable[RequestReference]:
    """The requests that series and documents name, else the one that the study level tells of."""
    references = [
        _request(study_instance_uid, item)
        for header in headers
        for tag in (0x00400275, 0x0040A370)
        for item in items(header, tag)
    ]
    unnamed = (_request(study_instance_uid, header) for header in headers)
    return references or (request for request in unnamed if _identified(request))


def _identified(request: RequestReference) -> bool:
    return bool(request.accession_number or request.placer_order_number or request.filler_order_number)


def _request(study_instance_uid: str, item: Attributes) -> RequestReference:
    return RequestReference(
        study_instance_uid=text(item, 0x0020000D) or study_instance_uid,
        accession_number=text(item, 0x00080050),
        accession_issuer=_issuer(item, 0x00080051),
        placer_order_number=text(item, 0x00402016),
        placer_issuer=_issuer(item, 0x00400026),
        filler_order_number=text(item, 0x00402017),
        filler_issuer=_issuer(item, 0x00400027),
        requested_procedure_id=text(item, 0x00401001),
        requested_procedure_description=text(item, 0x00321060),
        requested_procedure_codes=_codes((item,), 0x00321064),
    )


def _accession_numbers(
    headers: Sequence[Attributes], requests: Iterable[RequestReference]
) -> tuple[tuple[str, Issuer], ...]:
    """Every accession number once; with its issuer where one of its mentions tells it."""
    mentions = [(text(header, 0x00080050), _issuer(header, 0x00080051)) for header in headers]
    mentions += [(request.accession_number, request.accession_issuer) for request in requests]
    issued = {number for number, issuer in mentions if issuer != Issuer()}
    return tuple(
        dict.fromkeys(
            (number, issuer)
            for number, issuer in mentions
            if number and (issuer != Issuer() or number not in issued)
        )
    )
