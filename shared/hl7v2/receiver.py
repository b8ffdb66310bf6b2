"""The one way of a message of HL7 v2: read, done, recorded and acknowledged, whatever goes wrong."""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from shared.attempts import attempted, awaited
from shared.audit.events import AuditEvent
from shared.audit.recorder import AuditRecorder, AuditUnavailable
from shared.errors import UnavailableError
from shared.faults import NodeRefused
from shared.hl7v2.message import (
    AnswerCode,
    Header,
    MessageRefused,
    acknowledgement,
    readable_header,
)
from shared.security.caller import Node
from shared.telemetry.log import logger
from shared.telemetry.metrics import Result
from shared.telemetry.trace import asked_for, ended

_log = logger(__name__)


#: Longer messages are read in a thread.
ON_THE_LOOP_BYTES = 64 * 1024


class WithHeader(Protocol):
    """A message that was read."""

    @property
    def header(self) -> Header:
        """Its MSH."""
        ...


Received = TypeVar("Received", bound=WithHeader)


def cut(reason: str, beginning: bytes) -> bytes:
    """The answer to what is no whole frame: why, to the message that begins so."""
    error = MessageRefused(AnswerCode.REJECT, 207, "MSH", reason, readable_header(beginning))
    return acknowledgement(error.header, error=error)


class Receiver(ABC, Generic[Received]):
    """Takes the messages of a listener; a service says what it expects, and does it."""

    __slots__ = ()

    @property
    @abstractmethod
    def transaction(self) -> str:
        """The number of the transaction, as requests are counted."""

    @property
    @abstractmethod
    def recorder(self) -> AuditRecorder:
        """Where the trail is recorded."""

    @abstractmethod
    def now(self) -> datetime:
        """The time, aware and in UTC."""

    @abstractmethod
    def read(self, octets: bytes, node: Node) -> Received:
        """Check the right of the node, and read its message; raises `NodeRefused`, `MessageRefused`."""

    @abstractmethod
    async def take(self, message: Received, digest: str, node: Node) -> bytes:
        """Do what a message says, durably and with its record, and acknowledge it; `digest` is of its bytes.

        The same message again, by control id and bytes, is acknowledged as before.
        """

    @abstractmethod
    def failed(self, message: Received, address: str, description: str) -> Sequence[AuditEvent]:
        """The record of a message that was read and not taken."""

    @abstractmethod
    def unread(self, error: MessageRefused, address: str) -> AuditEvent:
        """The record of one that could not be read."""

    async def acknowledge(self, octets: bytes, node: Node) -> bytes:
        """Do what a message of `node` says; what it changed is durable before its AA.

        Whatever goes wrong becomes AE or AR with its reason, and changes nothing.
        """
        address = node.address
        asked_for(self.transaction)
        ended(Result.FAILURE)
        if len(octets) > ON_THE_LOOP_BYTES:
            # What `asked_for` says in a thread is said to this span, which its context has too.
            message = await awaited(asyncio.to_thread(self.read, octets, node))
        else:
            message = attempted(lambda: self.read(octets, node))
        if isinstance(message, Exception):
            return await self._answered(message, None, octets, address)
        answer = await awaited(self.take(message, hashlib.sha256(octets).hexdigest(), node))
        return await self._answered(answer, message, octets, address)

    async def _answered(
        self, outcome: bytes | Exception, message: Received | None, octets: bytes, address: str
    ) -> bytes:
        match outcome:
            case NodeRefused() as fault:
                ended(Result.FAULT)
                return await self._stranger(fault, octets, address)
            case MessageRefused() as error:
                return await self._refused(error, message, address)
            case UnavailableError() as error:
                unavailable = MessageRefused(AnswerCode.ERROR, 207, "MSH", error.context)
                return await self._refused(unavailable, message, address)
            case Exception() as error:
                ended(Result.ERROR)
                _log.error("a message of HL7 failed", kind=type(error).__name__, exc_info=error)
                text = "internal error; the log of the service explains it"
                mistake = MessageRefused(AnswerCode.ERROR, 207, "MSH", text)
                return await self._refused(mistake, message, address)
            case answer:
                ended(Result.SUCCESS)
                return answer

    async def _stranger(self, fault: NodeRefused, octets: bytes, address: str) -> bytes:
        """Refuse a node that may not feed, whatever it says; of its message the header alone is read."""
        _log.warning("a node may not feed", peer=address, reason=fault.detail)
        with suppress(AuditUnavailable):  # refused either way
            await self.recorder.refusals.node(address, fault.detail)
        error = MessageRefused(AnswerCode.REJECT, 207, "MSH", fault.reason)
        return acknowledgement(readable_header(octets), now=self.now(), error=error)

    async def _refused(self, error: MessageRefused, message: Received | None, address: str) -> bytes:
        _log.warning("a message of HL7 was not taken", code=str(error.code), number=error.number)
        header = error.header if message is None else message.header
        try:
            if message is None:
                record = self.unread(error, address)
                await self.recorder.refusals.event(
                    address, error.text, lambda description: replace(record, outcome_description=description)
                )
            else:
                await self.recorder.record(self.failed(message, address, error.text))
        except AuditUnavailable:
            # Nothing was changed, so that nothing is hidden; the sender learns of the refusal all the same.
            _log.error("the refusal cannot be recorded")
        return acknowledgement(header, now=self.now(), error=error)
