"""What a department's messages say of studies and patients (RAD TF-2 4.4, 4.12, 4.13): HL7 v2.3.1 to 2.5.

Read as far as publishing needs it: which study, in which state its order is, whether it is reported, and
whose it is. A study is named by IPC-3 or ZDS-1, in a report by the OBX of its Study Instance UID too, or by
its accession number in IPC-1 or OBR-18. Tolerated: further segments, ids without assigning authority, and
events of ADT that correct nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Final

from imaging_source.domain.department_fields import LONGEST_ID as _LONGEST_ID
from imaging_source.domain.department_fields import (
    component,
    first,
    groups,
    observed_study,
    wrong,
)
from imaging_source.domain.imaging_reports import ReadDocument, ReportedPatient, SentReport
from imaging_source.domain.report_messages import sent_reports
from shared.dicom.uids import UID_FORM, is_uid
from shared.ebrim.identifiers import escape_component, nfc, unescape
from shared.hl7v2 import message as hl7v2
from shared.hl7v2.message import (
    DEFAULT_CHARSET,
    AnswerCode,
    Header,
    MessageRefused,
    Segment,
    field_of,
)
from shared.imaging import legal
from shared.imaging.instance import Issuer

ORDERS: Final = ("OMG", "OMI", "ORM")
REPORTS: Final = ("MDM", "ORU")
PATIENTS: Final = "ADT"
#: Events of ADT by which a patient is corrected, merged, or given another identifier.
CORRECTIONS: Final = frozenset({"A08", "A18", "A31", "A34", "A36", "A40", "A43", "A47"})
_MOST_REPETITIONS: Final = 200
_LONGEST: Final = 65_536
#: Results that are final, or correct such (HL7 table 0123); documents that are authenticated (0271), or say
#: nothing of it; and events of MDM that bring none, or take it back.
_FINAL: Final = frozenset({"F", "C"})
_AUTHENTICATED: Final = frozenset({"", "AU", "LA"})
_WITHOUT_REPORT: Final = frozenset({"T01", "T03", "T05", "T07", "T09", "T11"})
#: Of HL7 tables 0119 and 0038 what may be said of a study.
_CANCELLING: Final = frozenset({"CA", "DC", "OC", "CR", "DR"})
_CONTROLS: Final = _CANCELLING | {
    *("NW", "XO", "SC", "SN", "NA", "OK", "RE"),
    *("PA", "CH", "RP", "RU", "RO", "RL", "HD"),
}
_STATUSES: Final = frozenset({"", "A", "CA", "CM", "DC", "ER", "HD", "IP", "RP", "SC"})


class OrderState(StrEnum):
    """How the order of a study stands: it is reported, carried out, not to be carried out, or under way."""

    REPORTED = "reported"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class PatientIdentifier:
    """An id with its assigning authority, of which either part may be empty."""

    value: str
    namespace: str = ""
    oid: str = ""

    def may_be(self, patient_id: str, issuer: Issuer) -> bool:
        """Whether it is a department's Patient ID, as far as both say who issued it."""
        if self.value != patient_id:
            return False
        if self.oid and issuer.universal_id:
            return self.oid == issuer.universal_id
        return not (self.namespace and issuer.local) or self.namespace == issuer.local

    def __str__(self) -> str:
        """As CX, by the OID alone where there is one: so all records name a patient (ITI TF-3 4.2.3.1.7)."""
        namespace, oid = map(escape_component, (self.namespace, self.oid))
        authority = f"&{oid}&ISO" if oid else namespace
        return f"{escape_component(self.value)}^^^{authority}".removesuffix("^^^")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedStudy:
    """How the order of one study stands; the UID or the accession number may be empty, and not both."""

    state: OrderState
    study_instance_uid: str = ""
    accession_number: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepartmentMessage:
    """One message: orders or reports of studies, or a correction of patients. `number` is that of its
    transaction, `patients` are those of PID-3, `prior` those of MRG-1, `subject` is the first of a report."""

    header: Header
    number: str
    patients: tuple[PatientIdentifier, ...]
    prior: tuple[PatientIdentifier, ...] = ()
    orders: tuple[OrderedStudy, ...] = ()
    corrects: bool = False
    reports: tuple[SentReport, ...] = ()
    subject: ReportedPatient | None = None


def decode(
    octets: bytes, *, default_charset: str = DEFAULT_CHARSET, read_document: ReadDocument | None = None
) -> DepartmentMessage:
    """Read a message, of reports with their documents where somebody reads these; raises
    `MessageRefused`."""
    message = hl7v2.decode(octets, kinds=(PATIENTS, *ORDERS, *REPORTS), default_charset=default_charset)
    try:
        return _message(message, read_document)
    except MessageRefused as error:
        error.header = message.header
        raise


def _message(message: hl7v2.Hl7Message, read_document: ReadDocument | None) -> DepartmentMessage:
    patients = tuple(_identifiers(message.named("PID"), 3, "PID-3"))
    prior = tuple(_identifiers(message.named("MRG"), 1, "MRG-1"))
    if not patients:
        raise wrong(101, "PID-3", "the message names no patient; give an id in PID-3")
    if message.guessed and not "".join(one.value for one in patients + prior).isascii():
        # An id that is guessed may be another patient's.
        raise MessageRefused(
            AnswerCode.REJECT,
            102,
            "MSH-18",
            "a patient id is not ASCII; name the character set in MSH-18",
        )
    if message.kind == PATIENTS:
        return DepartmentMessage(
            header=message.header,
            number="RAD-12",
            patients=patients,
            prior=prior,
            corrects=message.header.event in CORRECTIONS,
        )
    is_report = message.kind in REPORTS
    return DepartmentMessage(
        header=message.header,
        number="RAD-128" if is_report else "RAD-13",
        patients=patients,
        orders=tuple(_reports(message) if is_report else _orders(message)),
        reports=sent_reports(message, _named, read_document) if is_report and read_document else (),
        subject=_subject(message, patients) if is_report else None,
    )


def _subject(message: hl7v2.Hl7Message, patients: Sequence[PatientIdentifier]) -> ReportedPatient:
    """Whom PID names, as a report tells it; an id with an OID goes before one without."""
    pid = message.named("PID")[0]
    own = next((one for one in patients if one.oid), patients[0])
    sex = first(field_of(pid, 8))
    return ReportedPatient(
        identifier=own.value,
        authority=own.oid,
        family=component(field_of(pid, 5), 1),
        given_name=component(field_of(pid, 5), 2),
        birth_date=legal.date(first(field_of(pid, 7))[:8]),
        sex=sex if sex in ("F", "M") else "",
    )


def _named(group: Sequence[Segment]) -> tuple[str, str]:
    """UID and accession number of the study that a report is of."""
    study = next(_studies(group, OrderState.REPORTED))
    return study.study_instance_uid, study.accession_number


def _identifiers(segments: Sequence[Segment], number: int, place: str) -> Iterator[PatientIdentifier]:
    for segment in segments:
        field = field_of(segment, number)
        if len(field) > _LONGEST or field.count("~") >= _MOST_REPETITIONS:
            text = f"{place} has more than {_MOST_REPETITIONS} repetitions or {_LONGEST} characters"
            raise MessageRefused(AnswerCode.REJECT, 102, place, text)
        for repetition in field.split("~"):
            components = [*repetition.split("^"), "", "", "", ""]
            authority = [*components[3].split("&"), "", ""]
            parts = [nfc(unescape(part.strip())) for part in (components[0], *authority[:2])]
            # What cannot be shown cannot be recorded either.
            if parts[0] not in ("", '""') and all(
                one.isprintable() and len(one) <= _LONGEST_ID for one in parts
            ):
                yield PatientIdentifier(*parts)


def _orders(message: hl7v2.Hl7Message) -> Iterator[OrderedStudy]:
    of_orders = groups(message.segments, "ORC")
    if not of_orders:
        raise wrong(100, "ORC", "an order has one ORC at least")
    of_groups = (_studies(group, _state(group[0])) for group in of_orders)
    yield from dict.fromkeys(chain.from_iterable(of_groups))


def _reports(message: hl7v2.Hl7Message) -> Iterator[OrderedStudy]:
    """The studies of reports that are final; of others nothing is said."""
    if message.kind == "ORU":
        results = groups(message.segments, "OBR")
        final = [one for one in results if field_of(one[0], 25).strip() in _FINAL]
        if not message.named("OBR"):
            raise wrong(100, "OBR", "a report has one OBR at least")
    else:
        authenticated = (field_of(one, 17).strip() in _AUTHENTICATED for one in message.named("TXA"))
        is_final = message.header.event not in _WITHOUT_REPORT and all(authenticated)
        final = [list(message.segments)] if is_final else []
    of_groups = (_studies(group, OrderState.REPORTED) for group in final)
    yield from dict.fromkeys(chain.from_iterable(of_groups))


def _studies(group: Sequence[Segment], state: OrderState) -> Iterator[OrderedStudy]:
    procedures = [segment for segment in group if segment[0] == "IPC"]
    names = [(first(field_of(one, 3)), first(field_of(one, 1))) for one in procedures]
    uid = next((first(field_of(one, 1)) for one in group if one[0] == "ZDS"), "") or observed_study(group)
    numbers = [first(field_of(one, 18)) for one in group if one[0] == "OBR"]
    # A document without OBR names it by the filler's number (TXA-15).
    numbers += [first(field_of(one, 15)) for one in group if one[0] == "TXA"]
    accession = next(filter(None, numbers), "")
    for study, number in names or [(uid, accession)]:
        study_instance_uid, accession_number = study or uid, number or accession
        if study_instance_uid and not is_uid(study_instance_uid):
            raise wrong(
                102,
                "IPC-3" if procedures and study else "ZDS-1",
                f"the Study Instance UID is none: {UID_FORM}",
            )
        if not study_instance_uid and not accession_number:
            text = "give the study's UID in IPC-3 or ZDS-1, or its accession number in IPC-1 or OBR-18"
            raise wrong(101, "IPC-3", text)
        yield OrderedStudy(
            state=state,
            study_instance_uid=study_instance_uid,
            accession_number=accession_number[:_LONGEST_ID],
        )


def _state(segment: Segment) -> OrderState:
    control, status = field_of(segment, 1).strip(), field_of(segment, 5).strip()
    if control not in _CONTROLS:
        raise wrong(103, "ORC-1", f"the order control must be one of {', '.join(sorted(_CONTROLS))}")
    if status not in _STATUSES:
        statuses = ", ".join(sorted(_STATUSES - {""}))
        raise wrong(103, "ORC-5", f"the order status must be one of {statuses}, or absent")
    if control in _CANCELLING or status in ("CA", "DC"):
        return OrderState.CANCELLED
    return OrderState.COMPLETED if status == "CM" else OrderState.OPEN
