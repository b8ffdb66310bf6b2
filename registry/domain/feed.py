"""Messages of the patient identity feed (HL7 v2.3.1 to 2.5; ITI TF-2 3.8.4): what the registry needs of them.

Tolerated beside what every receiver tolerates (`shared.hl7v2.message`): ids of other assigning authorities
beside ours, segments that say nothing here, and a guessed character set as long as no patient id depends on
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared.ebrim.identifiers import CX, nfc, unescape
from shared.hl7v2 import message as hl7v2
from shared.hl7v2.message import (
    DEFAULT_CHARSET,
    AnswerCode,
    Header,
    MessageRefused,
    field_of,
)

MAX_REPETITIONS = 200
MAX_FIELD = 65_536


class Event(StrEnum):
    """The trigger events that a registry takes."""

    ADMIT = "A01"
    REGISTER = "A04"
    PRE_ADMIT = "A05"
    UPDATE = "A08"
    MERGE = "A40"


ADDING = frozenset({Event.ADMIT, Event.REGISTER, Event.PRE_ADMIT})


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedMessage:
    """One message: the patient of PID-3 and, in a merge, the prior one of MRG-1, as the registry spells."""

    header: Header
    event: Event
    patient_id: str
    prior_patient_id: str = ""


def decode(
    octets: bytes, *, domain: str, namespace: str = "", default_charset: str = DEFAULT_CHARSET
) -> FeedMessage:
    """Read a message whose patient ids are of the assigning authority `domain` (an OID).

    Parameters
    ----------
    namespace
        The namespace id that stands for `domain` where a message gives no OID.
    default_charset
        The character set, as MSH-18 spells it, of a message that names none and is not UTF-8.

    Raises
    ------
    MessageRefused
        With as much of the header as could be read.
    """
    message = hl7v2.decode(octets, kinds=("ADT",), default_charset=default_charset)
    try:
        return _message(message, domain, namespace)
    except MessageRefused as error:
        error.header = message.header
        raise


def _message(received: hl7v2.Hl7Message, domain: str, namespace: str) -> FeedMessage:
    event = _event(received.header)
    patients, priors = received.named("PID"), received.named("MRG")
    number = 1 if event is Event.MERGE else 0
    if len(patients) != 1 or len(priors) > 1 or len(priors) < number:
        raise MessageRefused(
            AnswerCode.ERROR,
            100,
            "PID",
            "one PID is needed, and one MRG in a merge: one pair for each message",
        )
    message = FeedMessage(
        header=received.header,
        event=event,
        patient_id=_patient(field_of(patients[0], 3), "PID-3", domain, namespace),
        prior_patient_id=_patient(field_of(priors[0], 1), "MRG-1", domain, namespace) if number else "",
    )
    if received.guessed and not (message.patient_id + message.prior_patient_id).isascii():
        # A name may be guessed, it is not even kept; an id that is guessed may be another patient's.
        raise MessageRefused(
            AnswerCode.REJECT,
            102,
            "MSH-18",
            "a patient id is not ASCII; name the character set in MSH-18",
        )
    return message


def _event(header: Header) -> Event:
    if header.event not in list(Event):
        raise MessageRefused(AnswerCode.REJECT, 201, "MSH-9", f"the event must be one of {', '.join(Event)}")
    return Event(header.event)


def _patient(field: str, place: str, domain: str, namespace: str) -> str:
    if len(field) > MAX_FIELD or field.count("~") >= MAX_REPETITIONS:
        raise MessageRefused(
            AnswerCode.REJECT,
            102,
            place,
            f"{place} has more than {MAX_REPETITIONS} repetitions or {MAX_FIELD} characters",
        )
    patients = {_canonical(repetition, domain, namespace) for repetition in field.split("~")} - {""}
    if len(patients) != 1:
        which = "no id" if not patients else "several ids"
        raise MessageRefused(
            AnswerCode.ERROR,
            204,
            place,
            f"{place} has {which} of the affinity domain {domain}; give one",
        )
    return patients.pop()


def _canonical(repetition: str, domain: str, namespace: str) -> str:
    components = repetition.split("^")
    authority = (components[3] if len(components) > 3 else "").split("&")
    oid = authority[1] if len(authority) > 1 else ""
    kind = authority[2] if len(authority) > 2 else ""
    ours = oid == domain and kind in ("ISO", "")
    if not oid and namespace and authority[0] == namespace:
        ours = True
    patient_id = nfc(unescape(components[0].strip()))
    # What cannot be shown cannot be recorded or answered either.
    return str(CX(patient_id, domain)) if ours and patient_id and patient_id.isprintable() else ""
