"""RegistryResponse and RegistryErrorList, which all transactions share (ITI TF-3 4.2.4; ebRS 3.0)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.errors import Actor, RelayedError, Severity, XdsError
from shared.soap.mtom import Attachments, MtomBody
from shared.xml import NS, Element, attribute, escape_attribute, qname

RS = NS["rs"]

_ERROR = qname("rs:RegistryError")
_ERROR_LIST = qname("rs:RegistryErrorList")
_UNENCODABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Status(StrEnum):
    """The status of a response; PartialSuccess is IHE's, the others are of OASIS."""

    SUCCESS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"
    FAILURE = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Failure"
    PARTIAL_SUCCESS = "urn:ihe:iti:2007:ResponseStatusType:PartialSuccess"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryResponse:
    """The outcome of a submission; warnings may stand beside Success, decoded errors are `RelayedError`s."""

    status: Status
    errors: tuple[XdsError, ...] = ()


def failure(errors: Sequence[XdsError]) -> RegistryResponse:
    """The orderly response that carries `errors` and nothing else."""
    return RegistryResponse(status=Status.FAILURE, errors=tuple(errors))


def has_error(errors: Iterable[XdsError]) -> bool:
    """Tell whether any entry is more than a warning."""
    return any(error.severity is Severity.ERROR for error in errors)


# --- encoding ----------------------------------------------------------------------------------------


def encode_registry_response(response: RegistryResponse, actor: Actor) -> bytes:
    """Encode `rs:RegistryResponse`, which declares its own namespace."""
    return b"".join(
        (
            f'<rs:RegistryResponse xmlns:rs="{RS}" status="{response.status}">'.encode(),
            encode_error_list(response.errors, actor),
            b"</rs:RegistryResponse>",
        )
    )


def encode_error_list(errors: Sequence[XdsError], actor: Actor) -> bytes:
    """Encode `rs:RegistryErrorList` with the prefix `rs` undeclared, or nothing when there are no errors.

    Never fails: a character that XML cannot carry is shown as U+FFFD.
    """
    if not errors:
        return b""
    highest = Severity.ERROR if has_error(errors) else Severity.WARNING
    listed = "".join(_registry_error(error, actor) for error in errors)
    return (f'<rs:RegistryErrorList highestSeverity="{highest}">{listed}</rs:RegistryErrorList>').encode()


def _registry_error(error: XdsError, actor: Actor) -> str:
    location = f' location="{_shown(error.location)}"' if error.location else ""
    return (
        f'<rs:RegistryError errorCode="{_shown(error.code_for(actor))}"'
        f' codeContext="{_shown(error.context)}"{location} severity="{error.severity}"/>'
    )


def _shown(text: str) -> str:
    return escape_attribute(_UNENCODABLE.sub("\N{REPLACEMENT CHARACTER}", text))


# --- decoding ----------------------------------------------------------------------------------------


def decode_registry_response(element: Element) -> RegistryResponse:
    """Decode `rs:RegistryResponse`.

    Raises
    ------
    SenderFault
        The status is absent.
    """
    errors = decode_error_list(element)
    return RegistryResponse(status=decode_status(element, errors), errors=errors)


def decode_status(element: Element, errors: Sequence[XdsError]) -> Status:
    """The status of any response element; an unknown one is Failure: what we cannot read is no success.

    A status Success beside an error is read as Failure for the same reason.
    """
    text = attribute(element, "status").strip()
    status = Status(text) if text in list(Status) else Status.FAILURE
    return Status.FAILURE if status is Status.SUCCESS and has_error(errors) else status


def decode_error_list(response: Element) -> tuple[XdsError, ...]:
    """The entries of the `rs:RegistryErrorList` below `response`; codes and severities stay as they were
    sent."""
    listed = response.find(_ERROR_LIST)
    return () if listed is None else tuple(_relayed(error) for error in listed.iterfind(_ERROR))


def unexplained(errors: tuple[XdsError, ...], status: Status, code: str) -> tuple[XdsError, ...]:
    """`errors`, with one added when a failure came without any."""
    if status is Status.SUCCESS or has_error(errors):
        return errors
    silent = RelayedError(code, "the peer reports a failure and gives no error", severity=Severity.ERROR)
    return (*errors, silent)


def _relayed(error: Element) -> RelayedError:
    warning = error.get("severity", "").strip() == Severity.WARNING
    return RelayedError(
        error.get("errorCode", ""),
        error.get("codeContext", ""),
        severity=Severity.WARNING if warning else Severity.ERROR,
        location=error.get("location", ""),
    )


# --- the response of transactions that answer with nothing else ------------------------------------------


def response_encoder(actor: Actor) -> Callable[[RegistryResponse], MtomBody]:
    """An encoder that writes the codes as `actor` does."""

    def encode(response: RegistryResponse) -> MtomBody:
        return MtomBody(encode_registry_response(response, actor))

    return encode


def decode_response(element: Element, _: Attachments) -> RegistryResponse:
    """Decode `rs:RegistryResponse`; raises as `decode_registry_response`."""
    return decode_registry_response(element)
