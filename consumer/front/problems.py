"""What went wrong between us and a peer, as whoever asked us is told it.

The codes of XDS pass through unchanged. Where a peer is and how it failed stands in the log alone; what is
not there and what consent refuses is told in the same words.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from consumer.store.files import Endless, WrongInstance
from consumer.transactions.iti43 import NotAsRegistered
from shared.audit.recorder import AuditUnavailable
from shared.dicom.kos import ManifestError, TooManyReferences
from shared.errors import Actor, Rejected, XdsError
from shared.faults import WSSE, WSU, SoapFault
from shared.http.client import EgressRefused
from shared.http.problem import (
    BadGateway,
    Forbidden,
    HttpProblem,
    NotFound,
    Unavailable,
    Unprocessable,
)
from shared.soap.client import PeerError, PeerUnreachable
from shared.telemetry.log import logger

_log = logger(__name__)

NOT_FOUND = "there is no such document or instance, or it is not for you"

_KINDS: tuple[tuple[type[HttpProblem], frozenset[str]], ...] = (
    (
        Unavailable,
        frozenset(
            {
                "XDSRegistryBusy",
                "XDSRepositoryBusy",
                "XDSRegistryOutOfResources",
                "XDSRepositoryOutOfResources",
                "XDSRegistryNotAvailable",
                "XDSUnavailableCommunity",
            }
        ),
    ),
    (
        Unprocessable,
        frozenset(
            {
                "XDSTooManyResults",
                "XDSStoredQueryMissingParam",
                "XDSStoredQueryParamNumber",
                "XDSUnknownPatientId",
                "XDSResultNotSinglePatient",
            }
        ),
    ),
)
_HIDDEN = "XDSDocumentUniqueIdError"


@asynccontextmanager
async def asking(peer: str, seconds: float | None) -> AsyncIterator[None]:
    """Ask `peer`, for example "the registry", for at most `seconds`, or however long it takes without;
    failures are raised as `HttpProblem`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except AuditUnavailable:
        raise
    except TimeoutError:
        _log.warning("no answer in time", peer=peer, seconds=seconds)
        raise BadGateway(f"{peer} gave no answer within {seconds:g} s; try again later") from None
    except PeerError as error:
        _log.warning("no answer", peer=peer, kind=type(error).__name__)
        raise _of_silence(peer, error) from None
    except SoapFault as fault:
        _log.warning("fault", peer=peer, subcode=fault.subcode)
        raise _of_fault(peer, fault) from None
    except Rejected as rejected:
        raise of_errors(peer, rejected.errors) from None
    except NotAsRegistered as error:
        raise BadGateway(error.context) from None
    except XdsError as error:
        raise of_errors(peer, (error,)) from None
    except EgressRefused:
        raise BadGateway("the manifest names a place that is not among the configured peers") from None
    except Endless as error:
        raise BadGateway(f"{peer} sent what has no end: {error}") from None
    except WrongInstance:
        raise BadGateway(f"{peer} sent something else than the instance that was asked for") from None
    except TooManyReferences as error:
        raise Unprocessable(
            f"the manifest references more than {error.most} instances, the most that are listed here; "
            "fetch it with `xdsi fetch`, or set XDSI_CONSUMER__OPEN_REFERENCES higher"
        ) from None
    except ManifestError as error:
        raise Unprocessable(f"the document is not a manifest: {error}") from None


def _of_silence(peer: str, error: PeerError) -> HttpProblem:
    if isinstance(error, PeerUnreachable):
        return Unavailable(f"{peer} cannot be reached now; try again later")
    return BadGateway(f"{peer} gave no answer that can be used; try again later")


def _of_fault(peer: str, fault: SoapFault) -> HttpProblem:
    if fault.subcode and fault.subcode[0] in (WSSE, WSU):
        return Forbidden(f"{peer} does not accept the user's assertion ({fault.subcode[1]})")
    return BadGateway(f"{peer} refused the message: {fault.reason}")


def of_errors(peer: str, errors: Sequence[XdsError]) -> HttpProblem:
    """The problem that says what `peer` said, with its codes."""
    codes = {error.code_for(Actor.REGISTRY): error for error in errors}
    if not codes or _HIDDEN in codes:
        return NotFound(NOT_FOUND)
    kind = next((kind for kind, of_kind in _KINDS if of_kind & codes.keys()), BadGateway)
    reasons = "; ".join(f"{code}: {error.context}" for code, error in codes.items())
    listed = [
        {"code": code, "severity": error.severity.rpartition(":")[2], "context": error.context}
        for code, error in codes.items()
    ]
    return kind(f"{peer} refused: {reasons}", errors=listed)
