"""What is known of certificates by the responders of their authorities (OCSP), remembered and kept fresh.

Nobody waits for a responder where its answer is at hand. One that is no longer fresh is asked for anew; where
the responder is silent then, what it said before holds until its own end.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from shared.security.ocsp import (
    ANSWER_SECONDS,
    CertificateStatus,
    NoAnswerError,
    OcspAnswer,
    checked,
    fetch_answer,
    issuer_of,
    responder_of,
)
from shared.telemetry.log import logger

#: For how long an answer is not asked for again at most; after half of it that is done beside the handshakes.
FRESH_SECONDS: Final = 300.0
#: How long a responder that gave no answer is let alone.
SILENCE_SECONDS: Final = 30.0
#: What a question can come to, as metrics count it.
OUTCOMES: Final = (*CertificateStatus, "none")
_MOST: Final = 4_096
_MOST_ASKED: Final = 16

_log = logger(__name__)

Trusted = Sequence[x509.Certificate]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of one certificate, by the clock: asked for beside after `renewal`, and with somebody
    waiting after `fresh`; `answer` is None where nobody gave one."""

    answer: OcspAnswer | None
    renewal: float
    fresh: float

    @property
    def status(self) -> CertificateStatus:
        if self.answer is None or datetime.now(UTC) >= self.answer.ends:
            return CertificateStatus.UNKNOWN
        return self.answer.status


class Responders:
    """Asks the responders that certificates name, or `url` about those that name none.

    `trusted` are always the authorities by which the certificate was found good; of one of another issuer
    nothing is known, and nobody is asked. `clock` gives seconds that only grow. Safe to use from several
    threads; `outcomes` counts what came of questions.
    """

    def __init__(
        self, url: str | None, *, with_nonce: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._with_nonce = with_nonce
        self._clock = clock
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._asked: dict[bytes, Future[CertificateStatus]] = {}
        self._lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()

    def status(
        self, certificate: x509.Certificate, trusted: Trusted
    ) -> CertificateStatus | Future[CertificateStatus]:
        """What the authority says, or what it will have said when the responder answered."""
        key, now = certificate.fingerprint(SHA256()), self._clock()
        with self._lock:
            memory = self._known.get(key)
        if memory is None or now >= memory.fresh:
            return self._ask(key, certificate, trusted)
        if now >= memory.renewal:
            self._ask(key, certificate, trusted)
        return memory.status

    def answer(self, certificate: x509.Certificate, trusted: Trusted) -> bytes:
        """The response that is at hand of a good certificate, as a server staples it; empty when there is
        none, and asked for beside then."""
        self.status(certificate, trusted)
        with self._lock:
            memory = self._known.get(certificate.fingerprint(SHA256()))
        if memory is None or memory.answer is None or memory.status is not CertificateStatus.GOOD:
            return b""
        return memory.answer.octets

    def take(self, certificate: x509.Certificate, octets: bytes, trusted: Trusted) -> None:
        """Believe a stapled response, where it counts and says what is newer than what is known."""
        try:
            answer = checked(octets, certificate, issuer_of(certificate, trusted))
        except NoAnswerError as error:
            _log.warning("a stapled OCSP response does not count", reason=str(error))
            return
        with self._lock:
            self._keep(certificate.fingerprint(SHA256()), answer)

    def _ask(self, key: bytes, certificate: x509.Certificate, trusted: Trusted) -> Future[CertificateStatus]:
        """The answer that somebody waits for already, or that is asked for now."""
        with self._lock:
            if (waiting := self._asked.get(key)) is not None:
                return waiting
            waiting = Future()
            if len(self._asked) >= _MOST_ASKED:
                waiting.set_result(CertificateStatus.UNKNOWN)
                return waiting
            self._asked[key] = waiting
        # What resolves names for the question may take longer than the question.
        over = threading.Timer(ANSWER_SECONDS, self._settle, (key, waiting, None, "it takes too long"))
        over.daemon = True
        over.start()
        threading.Thread(
            target=self._fetch, args=(key, certificate, trusted, waiting, over), name="ocsp", daemon=True
        ).start()
        return waiting

    def _fetch(
        self,
        key: bytes,
        certificate: x509.Certificate,
        trusted: Trusted,
        waiting: Future[CertificateStatus],
        over: threading.Timer,
    ) -> None:
        answer, reason = None, "a mistake of ours"
        try:
            answer = self._fetched(certificate, trusted)
        except NoAnswerError as error:
            reason = str(error)
        finally:
            over.cancel()
            self._settle(key, waiting, answer, reason)

    def _fetched(self, certificate: x509.Certificate, trusted: Trusted) -> OcspAnswer:
        issuer = issuer_of(certificate, trusted)
        url = responder_of(certificate) or self._url
        if url is None:
            raise NoAnswerError("the certificate names no responder (XDSI_TLS__OCSP_URL)")
        return fetch_answer(certificate, issuer, url, with_nonce=self._with_nonce)

    def _settle(
        self, key: bytes, waiting: Future[CertificateStatus], answer: OcspAnswer | None, reason: str
    ) -> None:
        with self._lock:
            if self._asked.get(key) is not waiting:
                return
            del self._asked[key]
            self.outcomes[answer.status if answer else "none"] += 1
            memory = self._keep(key, answer)
        if answer is None:
            _log.error("an OCSP responder gave no answer that counts", reason=reason)
        waiting.set_result(memory.status)

    def _keep(self, key: bytes, answer: OcspAnswer | None) -> _Known:
        """Remember an answer, or that there was none; the newer one holds."""
        now, before = self._clock(), self._known.get(key)
        newest = before.answer if before is not None else None
        if answer is not None and (newest is None or answer.said_at >= newest.said_at):
            left = max((answer.ends - datetime.now(UTC)).total_seconds(), 1.0)
            fresh = min(FRESH_SECONDS, left)
            memory = _Known(answer, now + fresh / 2, now + fresh)
        elif answer is not None and before is not None:
            memory = before
        else:
            left = (newest.ends - datetime.now(UTC)).total_seconds() if newest is not None else 0.0
            memory = _Known(newest, now + SILENCE_SECONDS, now + max(SILENCE_SECONDS, left))
        self._known[key] = memory
        self._known.move_to_end(key)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        return memory


@lru_cache(maxsize=16)
def responders(url: str | None, *, with_nonce: bool = True) -> Responders:
    """What all contexts of a process know together."""
    return Responders(url, with_nonce=with_nonce)
