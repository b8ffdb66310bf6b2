"""C-STORE sub-operations of C-MOVE and C-GET (PS3.4 C.4.2, C.4.3): instances as files, from the disk to the
wire a piece at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Final, Protocol

from pynetdicom import build_context
from pynetdicom.dimse_primitives import C_STORE, DimseServiceType
from pynetdicom.presentation import PresentationContext

from imaging_source.dimse.command_set import Command, Element, command_set
from imaging_source.dimse.upper_layer import BoundedMessages
from shared.dicom.data_set import DicomError
from shared.dicom.part10 import data_set_offset
from shared.dicom.uids import EXPLICIT_LE, IMPLICIT_LE
from shared.imaging.instance import Instance
from shared.imaging.transfer_syntax import Choice, Codecs, Impossible, choose

_PIECE: Final = 1024**2
_PLAIN: Final = (EXPLICIT_LE, IMPLICIT_LE)
_MOST_CONTEXTS: Final = 128
_MEDIUM: Final = 0
_MOST_MESSAGE_IDS: Final = 0xFFFF
# Warnings of the Storage Service Class: elements were coerced or discarded, or the data set is not as its SOP
# class says (PS3.4 B.2.3).
_WARNINGS: Final = frozenset({0xB000, 0xB006, 0xB007})


class Peer(Protocol):
    """The association by which sub-operations go."""

    messages: BoundedMessages

    def response(self) -> DimseServiceType | None:
        """The next message; None when there is none in time, or the association has ended."""
        ...


class PeerGone(Exception):
    """The association by which sub-operations went has ended, or its peer keeps to no protocol."""


@dataclass(slots=True)
class Counters:
    """Number of sub-operations by what became of them, and which failed; `remaining` have not begun."""

    remaining: int
    completed: int = 0
    failed: int = 0
    warning: int = 0
    failed_uids: list[str] = field(default_factory=list)

    def count(self, uid: str, failure: str, *, warned: bool = False) -> None:
        """Count one that has ended; `failure` is empty where the instance was taken."""
        self.remaining -= 1
        if failure:
            self.failed += 1
            self.failed_uids.append(uid)
        elif warned:
            self.warning += 1
        else:
            self.completed += 1

    def elements(self, *, remaining: bool) -> dict[Element, int]:
        """As a response tells them; only one that is not the last tells what remains (PS3.7 9.1.4)."""
        counts = {
            Element.COMPLETED: self.completed,
            Element.FAILED: self.failed,
            Element.WARNING: self.warning,
        }
        return {Element.REMAINING: self.remaining, **counts} if remaining else counts


class Contexts:
    """The presentation contexts by which we may store, by SOP class and transfer syntax."""

    def __init__(self, accepted: Iterable[PresentationContext], *, as_acceptor: bool) -> None:
        self._ids: dict[str, dict[str, int]] = {}
        for context in accepted:
            if context.as_scu or not as_acceptor:
                of_class = self._ids.setdefault(str(context.abstract_syntax), {})
                of_class.setdefault(str(context.transfer_syntax[0]), int(context.context_id))

    def choice(self, one: Instance, codecs: Codecs) -> Choice:
        """How an instance can be given in one of the transfer syntaxes that were negotiated for it."""
        syntaxes = self._ids.get(one.sop_class_uid)
        if not syntaxes:
            return Impossible("its SOP class was not negotiated")
        return choose(
            one.transfer_syntax_uid,
            tuple(syntaxes),
            one.has_pixels,
            decoded_size=one.decoded_size,
            codecs=codecs,
        )

    def id_of(self, one: Instance, transfer_syntax_uid: str) -> int:
        """The presentation context of an instance in a transfer syntax that was chosen."""
        return self._ids[one.sop_class_uid][transfer_syntax_uid]


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """One C-STORE request: which instance, in which presentation context, from which file; `originator` is
    the AE title and the message id of a C-MOVE."""

    instance: Instance
    context_id: int
    file: Path
    originator: tuple[str, int] | None = None


def store(peer: Peer, request: Store, number: int) -> tuple[str, bool]:
    """Send one instance and wait for its answer: why it failed, or nothing; and whether it is a warning.

    `number` is that of the sub-operation, of which its message id is made.

    Raises
    ------
    PeerGone
        Nobody answers any more.
    """
    message_id = number % _MOST_MESSAGE_IDS + 1
    elements: dict[Element, str | int] = {
        Element.AFFECTED_SOP_CLASS_UID: request.instance.sop_class_uid,
        Element.AFFECTED_SOP_INSTANCE_UID: request.instance.sop_instance_uid,
        Element.MESSAGE_ID: message_id,
        Element.PRIORITY: _MEDIUM,
    }
    if request.originator is not None:
        elements[Element.MOVE_ORIGINATOR], elements[Element.MOVE_ORIGINATOR_MESSAGE_ID] = request.originator
    command = command_set(Command.C_STORE_RQ, elements, has_data_set=True)
    try:
        offset = data_set_offset(request.file)
        descriptor = os.open(request.file, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, DicomError):
        return "what is stored cannot be read", False
    try:
        alive = peer.messages.send(request.context_id, command, _pieces(descriptor, offset))
    finally:
        os.close(descriptor)
    response = peer.response() if alive else None
    if (
        not isinstance(response, C_STORE)
        or response.MessageIDBeingRespondedTo != message_id
        or response.Status is None
    ):
        raise PeerGone
    status = int(response.Status)
    if status == 0 or status in _WARNINGS:
        return "", status != 0
    return f"the destination answered with status {status:04X}", False


def _pieces(descriptor: int, offset: int) -> Iterator[memoryview]:
    """The file from `offset` on; what was yielded stays as it is until the next but one is asked for."""
    length = min(_PIECE, max(1, os.fstat(descriptor).st_size - offset))
    for buffer in cycle([memoryview(bytearray(length)) for _ in range(2)]):
        if not (count := os.preadv(descriptor, [buffer], offset)):
            return
        yield buffer[:count]
        offset += count


def proposals(
    instances: Sequence[Instance],
) -> Iterator[tuple[list[PresentationContext], list[Instance]]]:
    """The presentation contexts to propose, with the instances that they are for.

    They are at most 128 at a time (PS3.8 9.3.2): for each SOP class one for every transfer syntax in which
    instances are stored, and one that every receiver can take.
    """
    stored: dict[str, dict[str, None]] = {}
    for one in instances:
        stored.setdefault(one.sop_class_uid, {})[one.transfer_syntax_uid] = None
    contexts: list[PresentationContext] = []
    classes: set[str] = set()
    for sop_class_uid, syntaxes in stored.items():
        of_class = [build_context(sop_class_uid, syntax) for syntax in syntaxes]
        if others := [syntax for syntax in _PLAIN if syntax not in syntaxes]:
            of_class.append(build_context(sop_class_uid, others))
        if len(contexts) + len(of_class) > _MOST_CONTEXTS:
            yield contexts, [one for one in instances if one.sop_class_uid in classes]
            contexts, classes = [], set()
        contexts += of_class
        classes.add(sop_class_uid)
    if contexts:
        yield contexts, [one for one in instances if one.sop_class_uid in classes]
