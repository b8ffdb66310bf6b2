"""What a Manifest with Description must say, where the instances of a study do not (RAD MADO 1.0.0).

What is made up here is said so: an accession number that nobody gave is one of ours, the same for the same
study at every time, and stands in the metadata too, so that reports can name it. A placer order number is not
made up; its place stays empty. An issuer that is told by a name alone keeps that name, without an OID.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from imaging_source.domain.coding import Issuers
from imaging_source.domain.instance import RequestReference, StudyHeader
from imaging_source.domain.manifest import MANUFACTURER, began
from shared.imaging import legal
from shared.imaging.instance import Issuer

_MIDNIGHT: Final = "000000"


def completed(header: StudyHeader, issuers: Issuers, institution: str, arrived: datetime) -> StudyHeader:
    """`header` with all that the manifest needs.

    Parameters
    ----------
    institution
        Named for a study that names none.
    arrived
        When the first instance came: the day of a study of which no date is known.
    """
    issuer = _patient_issuer(header, issuers)
    own = (header.patient_id, issuer)
    others = (other for other in header.other_patient_ids if other[0] != header.patient_id)
    generated = ((_accession_number(header.study_instance_uid), Issuer()),)
    accession_numbers = tuple(_accession_numbers(header)) or generated
    day, moment = began(header)
    date, time = legal.date(day), legal.time(moment)
    return replace(
        header,
        issuer_of_patient_id=issuer,
        other_patient_ids=(own, *(_named(other, issuers) for other in others)),
        study_date=date or f"{arrived:%Y%m%d}",
        study_time=time or _earliest(header, date) or (_MIDNIGHT if date else f"{arrived:%H%M%S}"),
        accession_numbers=accession_numbers,
        requests=tuple(_unique(_requests(header, accession_numbers), issuers)),
        institution=legal.text(header.institution) or institution or MANUFACTURER,
    )


def _patient_issuer(header: StudyHeader, issuers: Issuers) -> Issuer:
    """Both the label and the universal id, each made of the other where one is absent."""
    issuer = header.issuer_of_patient_id
    universal_id = _entity(issuer, issuers.patient_id)
    return Issuer(
        issuer.local or universal_id,
        universal_id,
        (issuer.universal_id_type or "ISO") if universal_id else "",
    )


def _named(other: tuple[str, Issuer], issuers: Issuers) -> tuple[str, Issuer]:
    patient_id, issuer = other
    return patient_id, replace(issuer, local=issuer.local or issuer.universal_id)


def _earliest(header: StudyHeader, date: str) -> str:
    """The first time of the day that something of the study tells."""
    times = (legal.time(time) for day, time in header.other_dates if legal.date(day) == legal.date(date))
    return min(filter(None, times), default="")


def _accession_number(study_instance_uid: str) -> str:
    """An accession number of ours (SH) for a study that has none."""
    digest = hashlib.sha256(study_instance_uid.encode()).digest()
    return f"X{base64.b32encode(digest).decode()[: legal.SHORT - 1]}"


def _accession_numbers(header: StudyHeader) -> Iterator[tuple[str, Issuer]]:
    """Each accession number that can be written once, of the study and of its requests."""
    of_requests = ((one.accession_number, one.accession_issuer) for one in header.requests)
    mentions = [mention for mention in (*header.accession_numbers, *of_requests) if _is_legal(mention[0])]
    issuers = dict(reversed(mentions))
    yield from ((number, issuers[number]) for number in dict.fromkeys(number for number, _ in mentions))


def _is_legal(accession_number: str) -> bool:
    return bool(legal.identifier(accession_number, legal.SHORT))


def _requests(
    header: StudyHeader, accession_numbers: tuple[tuple[str, Issuer], ...]
) -> Iterator[RequestReference]:
    """The requests, each of an accession number, and one of each accession number at least."""
    first, first_issuer = accession_numbers[0]
    issuer_of = dict(accession_numbers)
    numbers = set()
    for request in header.requests:
        number = request.accession_number if _is_legal(request.accession_number) else first
        numbers.add(number)
        issuer = request.accession_issuer if request.accession_issuer != Issuer() else issuer_of.get(number)
        yield replace(
            request,
            study_instance_uid=header.study_instance_uid,
            accession_number=number,
            accession_issuer=issuer or first_issuer,
        )
    for number, issuer in accession_numbers:
        if number not in numbers:
            yield RequestReference(
                study_instance_uid=header.study_instance_uid,
                accession_number=number,
                accession_issuer=issuer,
            )


def _unique(requests: Iterator[RequestReference], issuers: Issuers) -> Iterator[RequestReference]:
    """The first of each pair of accession and placer order number, which is what tells requests apart."""
    pairs = set()
    for request in requests:
        placer = request.placer_order_number
        pair = (
            request.accession_number,
            _entity(request.accession_issuer, issuers.accession_number),
            placer,
            placer and _entity(request.placer_issuer, issuers.placer_order_number),
        )
        if pair not in pairs:
            pairs.add(pair)
            yield request


def _entity(issuer: Issuer, default: str) -> str:
    return issuer.universal_id or ("" if issuer.local else default)
