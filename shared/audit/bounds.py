"""The bounds of one audit record, kept where an event becomes a message: nothing that a stranger or a message
chooses makes a record that its receiver would not take.

An event that is larger becomes several records with the same participants, patient and outcome, each of which
says which part of how many it is; a value that is longer is cut, and says how long it was and what its digest
is. No receiver need take more than 2,048 octets (RFC 5425 4.3.1); those in use take 64 KB and more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from typing import Final, TypeVar

from shared.audit import dicom_xml
from shared.audit.events import AuditEvent, Coded, Participant, ParticipantObject
from shared.audit.limits import MAX_OBJECTS, MAX_PARTS, MAX_QUERY, MAX_RECORD, MAX_VALUE

# What a record is made of: its head, its patients, its objects, and the rest (source, syslog header, notes).
_HEAD: Final = 20 * 1024
_PATIENTS: Final = 8 * 1024
_LIST: Final = 4 * 1024
_REST: Final = 6 * 1024
_PARTICIPANTS: Final = 8
# The bounds of a value and of a list of codes in a head, and those for a head that is too large with them.
_WIDE: Final = (MAX_VALUE, 16)
_TIGHT: Final = (100, 4)
# An event with so few parts, values and octets of text is surely small.
_FEW: Final = 8
_GLANCE: Final = 80
_TEXT: Final = 24 * 1024
# No character is written with more octets than &quot; and no detail with more around its value.
_WIDEST: Final = 6
_AROUND: Final = 80

Item = TypeVar("Item")


def parts(event: AuditEvent) -> tuple[AuditEvent, ...]:
    """The events, mostly the very one, by which `event` is recorded within the bounds."""
    if _is_small(event):
        return (event,)
    head = _head(replace(event, objects=()))
    objects = [piece for item in event.objects for piece in _pieces(_object(item))]
    patients = tuple(item for item in objects if item.type_code == item.role == 1)
    if sum(map(dicom_xml.size_of_object, patients)) > _PATIENTS:
        patients = ()
    others = [item for item in objects if item not in patients]
    room = MAX_RECORD - _REST - dicom_xml.size_of_head(head) - sum(map(dicom_xml.size_of_object, patients))
    packed = list(_packed(others, dicom_xml.size_of_object, octets=room, number=MAX_OBJECTS - len(patients)))
    return tuple(_numbered(head, patients, packed or [()]))


def cut(value: str, most: int = MAX_VALUE) -> str:
    """`value`, or what of it takes at most `most` octets as it is written, with how long it was."""
    if len(value) * _WIDEST <= most or (len(value) <= most and dicom_xml.size_of(value) <= most):
        return value
    note = _note(value.encode("utf-8", "replace"))
    room = most - len(note.encode())
    beginning = value[:room]
    while (size := dicom_xml.size_of(beginning)) > room:
        beginning = beginning[: len(beginning) * room // size]
    return beginning + note


def cut_octets(value: bytes, most: int = MAX_VALUE) -> bytes:
    """As `cut`, for the value of a detail; a character is not cut in two."""
    if len(value) <= most:
        return value
    note = _note(value).encode()
    beginning = value[: most - len(note)]
    while beginning and value[len(beginning)] & 0xC0 == 0x80:
        beginning = beginning[:-1]
    return beginning + note


def _note(octets: bytes) -> str:
    return f"… [{len(octets)} octets, SHA-256 {sha256(octets).hexdigest()[:16]}]"


# --- most events -------------------------------------------------------------------------------------


def _is_small(event: AuditEvent) -> bool:
    """Whether all bounds hold at a glance, as they do for nearly every event."""
    if len(event.participants) > _FEW or len(event.objects) > _FEW:
        return False
    number, longest, text = _measure(event.participants)
    lengths = [len(event.outcome_description), longest]
    octets = 0
    for item in event.objects:
        lengths += len(item.object_id), len(item.name), _length(item.id_type)
        if item.query is not None:
            octets += len(item.query)
        for name, value in item.details:
            lengths += len(name), len(value) // _WIDEST
            octets += len(value)
        lengths += [len(uid) for uid, _ in item.sop_classes]
    lengths += map(_length, (event.event_id, *event.event_types, *event.purposes))
    return (
        max(lengths) * _WIDEST <= MAX_VALUE
        and octets <= MAX_QUERY
        and len(lengths) + number <= _GLANCE
        and (sum(lengths) + text) * _WIDEST <= _TEXT
    )


@lru_cache(maxsize=1024)
def _measure(participants: tuple[Participant, ...]) -> tuple[int, int, int]:
    """How many values participants have, the characters of the longest, and those of all; users and
    endpoints come again with every request."""
    lengths = [0]
    for one in participants:
        lengths += len(one.user_id), len(one.alternative_user_id), len(one.user_name), len(one.network_id)
        lengths += map(_length, one.roles)
    return len(lengths), max(lengths), sum(lengths)


@lru_cache(maxsize=1024)
def _length(code: Coded) -> int:
    return len(code.code) + len(code.system) + len(code.text)


# --- the head ----------------------------------------------------------------------------------------


def _head(event: AuditEvent) -> AuditEvent:
    wide = _bounded(event, *_WIDE)
    return wide if dicom_xml.size_of_head(wide) <= _HEAD else _bounded(event, *_TIGHT)


def _bounded(event: AuditEvent, most: int, number: int) -> AuditEvent:
    description = cut(event.outcome_description, most)
    if left_out := len(event.participants[_PARTICIPANTS:]):
        description = _joined(description, f"{left_out} more participants are not named")
    return replace(
        event,
        event_id=_code(event.event_id, most),
        event_types=_codes(event.event_types, most, number),
        participants=tuple(_participant(one, most, number) for one in event.participants[:_PARTICIPANTS]),
        outcome_description=description,
        purposes=_codes(event.purposes, most, number),
    )


def _participant(one: Participant, most: int, number: int) -> Participant:
    return replace(
        one,
        user_id=cut(one.user_id, most),
        alternative_user_id=cut(one.alternative_user_id, most),
        user_name=cut(one.user_name, most),
        roles=_codes(one.roles, most, number),
        network_id=cut(one.network_id, most),
    )


def _codes(codes: Sequence[Coded], most: int, number: int) -> tuple[Coded, ...]:
    first = tuple(_code(code, most) for code in codes[:number])
    if left_out := len(codes[number:]):
        first = (*first[:-1], Coded("", "", f"{left_out + 1} more are not named"))
    return first


def _code(code: Coded, most: int) -> Coded:
    return Coded(cut(code.code, most), cut(code.system, most), cut(code.text, most))


# --- objects and parts -------------------------------------------------------------------------------


def _object(item: ParticipantObject) -> ParticipantObject:
    details = tuple((cut(kind), cut_octets(value)) for kind, value in item.details)
    query = item.query
    if query is not None and len(query) > MAX_QUERY:
        note = f"the first {MAX_QUERY} of {len(query)} octets are kept"
        digest = sha256(query).hexdigest()
        details = (("Query shortened", note.encode()), ("SHA-256", digest.encode()), *details)
        query = query[:MAX_QUERY]
    return replace(
        item,
        object_id=cut(item.object_id),
        id_type=_code(item.id_type, MAX_VALUE),
        name=cut(item.name),
        query=query,
        details=details,
        sop_classes=tuple((cut(uid), number) for uid, number in item.sop_classes),
    )


def _pieces(item: ParticipantObject) -> Iterator[ParticipantObject]:
    """The object, more than once with the same id when its lists are too long for one."""
    details = list(_packed(item.details, _size_of_detail, octets=_LIST, number=MAX_OBJECTS)) or [()]
    sop_classes = list(_packed(item.sop_classes, _size_of_class, octets=_LIST, number=MAX_OBJECTS)) or [()]
    for at in range(max(len(details), len(sop_classes))):
        yield replace(
            item,
            query=item.query if at == 0 else None,
            details=details[at] if at < len(details) else (),
            sop_classes=sop_classes[at] if at < len(sop_classes) else (),
        )


def _size_of_detail(detail: tuple[str, bytes]) -> int:
    kind, value = detail
    return _AROUND + dicom_xml.size_of(kind) + len(value) * 4 // 3


def _size_of_class(counted: tuple[str, int]) -> int:
    return _AROUND + dicom_xml.size_of(counted[0])


def _packed(
    items: Sequence[Item], size_of: Callable[[Item], int], *, octets: int, number: int
) -> Iterator[tuple[Item, ...]]:
    """The items in their order, in as few tuples of at most `number` and, but for a lone one, `octets`."""
    portion: list[Item] = []
    size = 0
    for item in items:
        needed = size_of(item)
        if portion and (len(portion) >= number or size + needed > octets):
            yield tuple(portion)
            portion, size = [], 0
        portion.append(item)
        size += needed
    if portion:
        yield tuple(portion)


def _numbered(
    head: AuditEvent, patients: tuple[ParticipantObject, ...], packed: Sequence[tuple[ParticipantObject, ...]]
) -> Iterator[AuditEvent]:
    of = min(len(packed), MAX_PARTS)
    beyond = sum(map(len, packed[MAX_PARTS:]))
    for number, objects in enumerate(packed[:of], start=1):
        description = head.outcome_description
        if of > 1:
            description = _joined(description, f"part {number} of {of}")
        if beyond and number == of:
            description = _joined(description, f"{beyond} more objects are not named")
        yield replace(head, objects=(*patients, *objects), outcome_description=description)


def _joined(description: str, more: str) -> str:
    return f"{description}; {more}" if description else more
