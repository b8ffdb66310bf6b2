"""What is registered of documents and of a patient: what a source asks the registry of its own community.

No transaction of IHE: a stored query shows what consent lets a user see, and a source must know what became
of its own documents. Plain JSON over HTTP, for nodes that publish; it tells nothing of a document but its
ids.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

PATH = "/registrations"

MAX_UNIQUE_IDS = 200
"""Documents that one request may ask about."""


class UnreadableRegistrations(ValueError):
    """An answer or a request that is none; the text shows nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationsRequest:
    """`patient_id` is a CX of the affinity domain, `unique_ids` are of documents."""

    patient_id: str
    unique_ids: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The request as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, octets: bytes) -> RegistrationsRequest:
        """Read a request; raises `UnreadableRegistrations`."""
        try:
            content = json.loads(octets)
            unique_ids = content["unique_ids"]
            if not isinstance(unique_ids, list) or len(unique_ids) > MAX_UNIQUE_IDS:
                raise UnreadableRegistrations(f"unique_ids is no list of at most {MAX_UNIQUE_IDS}")
            return cls(patient_id=_text(content["patient_id"]), unique_ids=tuple(map(_text, unique_ids)))
        except (KeyError, TypeError, RecursionError, json.JSONDecodeError):
            raise UnreadableRegistrations("patient_id and unique_ids are needed, as JSON") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredDocument:
    """An entry of a document that was asked about; of several versions each is one."""

    unique_id: str
    entry_uuid: str
    patient_id: str
    approved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Registrations:
    """What the registry knows.

    `survivor` is the patient into whom the one that was asked about was merged, or itself; `known` tells
    whether documents of `survivor` are taken, None when the registry does not tell. With `complete` a
    document without entry has none; without, it may be hidden.
    """

    survivor: str
    known: bool | None
    documents: tuple[RegisteredDocument, ...] = ()
    complete: bool = True

    def encode(self) -> bytes:
        """The answer as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, octets: bytes) -> Registrations:
        """Read an answer; raises `UnreadableRegistrations`."""
        try:
            content = json.loads(octets)
            return cls(
                survivor=_text(content["survivor"]),
                known=bool(content["known"]),
                documents=tuple(map(_document, content["documents"])),
            )
        except (KeyError, TypeError, ValueError, RecursionError):
            raise UnreadableRegistrations("the answer is not of the form that was agreed on") from None


def _document(content: dict[str, object]) -> RegisteredDocument:
    return RegisteredDocument(
        unique_id=_text(content["unique_id"]),
        entry_uuid=_text(content["entry_uuid"]),
        patient_id=_text(content["patient_id"]),
        approved=content["approved"] is True,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise UnreadableRegistrations("an id is no text")
    return value
