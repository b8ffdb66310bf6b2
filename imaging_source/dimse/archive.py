"""An archive that is asked by C-FIND, and gives by C-GET or by C-MOVE to our own listener (PS3.4 C.4).

An association is one thread's, which waits for each answer; what comes goes to the event loop, one instance
after the other, and the archive waits meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from pynetdicom import build_context, build_role
from pynetdicom.dimse_primitives import C_FIND, C_GET, C_MOVE, C_STORE
from pynetdicom.dsutils import decode
from pynetdicom.presentation import PresentationContext, StoragePresentationContexts

from imaging_source.archives.archive import ArchiveAway, ReceivedFile, Room, Take
from imaging_source.archives.keys import keys_of
from imaging_source.archives.moves import Moves
from imaging_source.dimse.c_store import TRANSFER_SYNTAXES
from imaging_source.dimse.command_set import Command, Element, command_set
from imaging_source.dimse.entities import ApplicationEntities, Entity
from imaging_source.dimse.requestor import NotAssociated, RequestedAssociation, associate
from imaging_source.domain.identifier import UTF_8, encode_identifier
from imaging_source.domain.listing import ListedInstance
from imaging_source.domain.retrieve_identifier import Level
from imaging_source.domain.transfer import Sender
from imaging_source.settings import ImagingSourceSettings
from imaging_source.settings.archives import ArchiveSettings, Retrieval
from shared.attempts import attempted
from shared.audit.events import entity_participants, ihe
from shared.dicom.encodings import implicit_vr
from shared.dicom.json import Attributes, text
from shared.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, is_uid
from shared.imaging.description import patient_issuer
from shared.imaging.query.levels import RETURNED, QueryLevel
from shared.imaging.query.query import Query
from shared.security.caller import Node
from shared.security.rights import Rights

TakeThere = Callable[[ReceivedFile], None]
"""Takes an instance on the event loop, and blocks until that is done."""

_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
_RAD16: Final = ihe("RAD-16", "Retrieve Images")
_PLAIN: Final = (EXPLICIT_LE, IMPLICIT_LE)
_MOST_CONTEXTS: Final = 128
_MOST_UIDS: Final = 200
_MOST_MATCHES: Final = 100_000
_PENDING: Final = frozenset({0xFF00, 0xFF01})
_SOME_FAILED: Final = 0xB000
_MOST_MESSAGE_IDS: Final = 0xFFFF

_LEVEL: Final = 0x00080052
_STUDY: Final = 0x0020000D
_SERIES: Final = 0x0020000E
_INSTANCE: Final = 0x00080018
_CLASS: Final = 0x00080016
_PATIENT: Final = (0x00100010, 0x00100020, 0x00100021)
_OF_INSTANCE: Final = (_INSTANCE, _CLASS, 0x00200013, 0x00280008, 0x00280010, 0x00280011)
# Of the answer and not of the instance.
_OF_ANSWER: Final = frozenset({"00080005", "00080052", "00080054", "00080056"})


class DimseArchive:
    """The archive `name`, which is the application `entity`; `moves` are those that our listener expects."""

    def __init__(
        self,
        name: str,
        entity: Entity,
        settings: ImagingSourceSettings,
        *,
        retrieval: Retrieval,
        host: str,
        moves: Moves,
    ) -> None:
        self.name = name
        self._entity = entity
        self._settings = settings
        self._retrieval = retrieval
        self._host = host
        self._moves = moves

    def sender(self) -> Sender:
        """The archive, from which we pull."""
        calling = (self._settings.ae_title, self._host)
        called = (self._entity.title, self._entity.settings.host or "")
        participants = entity_participants(calling=calling, called=called, pull=True)
        return Sender(transaction=_RAD16, participants=participants)

    # --- C-FIND ------------------------------------------------------------------------------------------

    async def find_studies(self, query: Query, *, limit: int) -> Sequence[Attributes]:
        """See `Archive`."""
        tags = {*query.include, *RETURNED[QueryLevel.STUDY], *_PATIENT}
        keys = dict.fromkeys(sorted(tags), ()) | keys_of(query)
        return await asyncio.to_thread(self._found_alone, Level.STUDY, keys, limit)

    async def list_study(self, study_instance_uid: str) -> Sequence[ListedInstance]:
        """See `Archive`."""
        return await asyncio.to_thread(self._listed, study_instance_uid)

    def _listed(self, study_instance_uid: str) -> Sequence[ListedInstance]:
        uid = (study_instance_uid,)
        with self._associated([build_context(_FIND, list(_PLAIN))]) as association:
            find = partial(self._found, association)
            studies = find(Level.STUDY, {_STUDY: uid, **dict.fromkeys(_PATIENT, ())}, 2)
            study = next((one for one in studies if text(one, _STUDY) == study_instance_uid), None)
            if study is None:
                return ()
            listed: dict[str, ListedInstance] = {}
            for of_series in find(Level.SERIES, {_STUDY: uid, _SERIES: ()}, _MOST_MATCHES):
                if not is_uid(series := text(of_series, _SERIES)):
                    continue
                keys = {_STUDY: uid, _SERIES: (series,), **dict.fromkeys(_OF_INSTANCE, ())}
                for attributes in find(Level.IMAGE, keys, _MOST_MATCHES):
                    if is_uid(instance := text(attributes, _INSTANCE)):
                        listed[instance] = ListedInstance(
                            study_instance_uid=study_instance_uid,
                            series_instance_uid=series,
                            sop_instance_uid=instance,
                            sop_class_uid=text(attributes, _CLASS),
                            patient_id=text(study, 0x00100020),
                            issuer_of_patient_id=patient_issuer(study),
                            digest=_digest(attributes, study),
                        )
        return tuple(listed.values())

    def _found_alone(
        self, level: Level, keys: Mapping[int, Sequence[str]], most: int
    ) -> Sequence[Attributes]:
        with self._associated([build_context(_FIND, list(_PLAIN))]) as association:
            return self._found(association, level, keys, most)

    def _found(
        self,
        association: RequestedAssociation,
        level: Level,
        keys: Mapping[int, Sequence[str]],
        most: int,
    ) -> Sequence[Attributes]:
        context = self._context(association, _FIND)
        implicit = context.transfer_syntax[0] == IMPLICIT_LE
        self._ask(association, context, Command.C_FIND_RQ, level, keys)
        matches: list[Attributes] = []
        while True:
            _, response = self._received(association)
            if not isinstance(response, C_FIND) or response.Status is None:
                raise self._away("answers C-FIND with something else")
            if int(response.Status) not in _PENDING:
                if response.Status:
                    raise self._away(f"answers C-FIND with status {int(response.Status):04X}")
                return matches
            if len(matches) == most:
                # What more there is comes with an association that is ended.
                return matches
            if response.Identifier is not None:
                matches.append(self._match(response.Identifier, implicit))

    def _match(self, identifier: Any, implicit: bool) -> Attributes:
        def read() -> Attributes:
            attributes: Attributes = decode(identifier, implicit, True).to_json_dict()
            return attributes

        # pydicom has no exception of its own for what is malformed.
        if isinstance(attributes := attempted(read), Exception):
            raise self._away("answers C-FIND with what cannot be read")
        return attributes

    # --- C-GET, C-MOVE -----------------------------------------------------------------------------------

    async def retrieve(self, instances: Sequence[ListedInstance], room: Room, take: Take) -> None:
        """See `Archive`."""
        loop = asyncio.get_running_loop()

        def take_there(file: ReceivedFile) -> None:
            asyncio.run_coroutine_threadsafe(_taken(take, file), loop).result()

        if self._retrieval is Retrieval.MOVE:
            await asyncio.to_thread(self._move, instances, take_there)
        else:
            await asyncio.to_thread(self._get, instances, room, take_there)

    def _get(self, instances: Sequence[ListedInstance], room: Room, take: TakeThere) -> None:
        classes = sorted({one.sop_class_uid for one in instances})
        if not all(map(is_uid, classes)):
            # An archive that does not tell of what class an image is: of any that is usual.
            classes = [str(one.abstract_syntax) for one in StoragePresentationContexts][: _MOST_CONTEXTS - 1]
        if len(classes) >= _MOST_CONTEXTS:
            raise self._away("lists a study of more SOP classes than one association has room for")
        contexts = [build_context(_GET, list(_PLAIN)), *_storage_contexts(classes)]
        roles = [build_role(uid, scp_role=True) for uid in classes]
        with self._associated(contexts, roles, room) as association:
            context = self._context(association, _GET)
            for keys in _portions(instances):
                self._ask(association, context, Command.C_GET_RQ, Level.IMAGE, keys)
                self._sub_operations(association, take)

    def _sub_operations(self, association: RequestedAssociation, take: TakeThere) -> None:
        until = time.monotonic() + self._settings.archive_answer_seconds
        while True:
            context_id, message = self._received(association)
            if isinstance(message, C_STORE):
                self._store(association, context_id, message, take)
                until = time.monotonic() + self._settings.archive_answer_seconds
            elif isinstance(message, C_GET) and message.Status is not None:
                if int(message.Status) not in _PENDING:
                    self._check(int(message.Status), "C-GET")
                    return
            else:
                raise self._away("answers C-GET with something else")
            self._check_time(until)

    def _store(
        self, association: RequestedAssociation, context_id: int, request: C_STORE, take: TakeThere
    ) -> None:
        sop_class_uid, sop_instance_uid = (
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
        )
        syntax = next(
            (str(one.transfer_syntax[0]) for one in association.accepted() if one.context_id == context_id),
            "",
        )
        take(
            association.messages.take(
                request.DataSet, sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid, syntax=syntax
            )
        )
        elements: dict[Element, str | int] = {
            Element.AFFECTED_SOP_CLASS_UID: sop_class_uid,
            Element.AFFECTED_SOP_INSTANCE_UID: sop_instance_uid,
            Element.RESPONDED_TO: int(request.MessageID),
            Element.STATUS: 0,
        }
        answer = command_set(Command.C_STORE_RSP, elements, has_data_set=False)
        if not association.messages.send_command(context_id, answer):
            raise self._away("broke off")

    def _move(self, instances: Sequence[ListedInstance], take: TakeThere) -> None:
        with self._associated([build_context(_MOVE, list(_PLAIN))]) as association:
            context = self._context(association, _MOVE)
            for keys in _portions(instances):
                with self._moves.expected(self._entity.title, take) as move:
                    self._ask(association, context, Command.C_MOVE_RQ, Level.IMAGE, keys, move.message_id)
                    self._moved(association, move.last_at)

    def _moved(self, association: RequestedAssociation, last_at: Callable[[], float]) -> None:
        began = time.monotonic()
        while True:
            _, message = self._received(association)
            if not isinstance(message, C_MOVE) or message.Status is None:
                raise self._away("answers C-MOVE with something else")
            if int(message.Status) not in _PENDING:
                self._check(int(message.Status), "C-MOVE")
                return
            self._check_time(max(began, last_at()) + self._settings.archive_answer_seconds)

    def _check(self, status: int, service: str) -> None:
        if status not in (0, _SOME_FAILED):
            raise self._away(f"answers {service} with status {status:04X}")

    def _check_time(self, until: float) -> None:
        if time.monotonic() > until:
            seconds = self._settings.archive_answer_seconds
            raise self._away(f"is too slow: nothing whole came in {seconds:g} s")

    # --- associations ------------------------------------------------------------------------------------

    @contextmanager
    def _associated(
        self, contexts: Sequence[PresentationContext], roles: Sequence[Any] = (), room: Room | None = None
    ) -> Iterator[RequestedAssociation]:
        try:
            association = associate(self._entity, self._settings, contexts, roles, room)
        except NotAssociated as error:
            raise ArchiveAway(f"the archive {self.name}: {error}") from None
        try:
            yield association
        except BaseException:
            association.cut()
            raise
        finally:
            association.close()

    def _context(self, association: RequestedAssociation, sop_class_uid: str) -> PresentationContext:
        for context in association.accepted():
            if context.abstract_syntax == sop_class_uid:
                return context
        raise self._away("does not take the query and retrieve service that the settings name")

    def _ask(
        self,
        association: RequestedAssociation,
        context: PresentationContext,
        command: Command,
        level: Level,
        keys: Mapping[int, Sequence[str]],
        message_id: int = 0,
    ) -> None:
        elements: dict[Element, str | int] = {
            Element.AFFECTED_SOP_CLASS_UID: str(context.abstract_syntax),
            Element.MESSAGE_ID: message_id or secrets.randbelow(_MOST_MESSAGE_IDS) + 1,
            Element.PRIORITY: 0,
        }
        if command is Command.C_MOVE_RQ:
            elements[Element.MOVE_DESTINATION] = self._settings.ae_title
        identifier = encode_identifier(
            _attributes({_LEVEL: (level.value,), **keys}),
            implicit=context.transfer_syntax[0] == IMPLICIT_LE,
            character_sets=(UTF_8,),
            is_question=True,
        )
        octets = command_set(command, elements, has_data_set=True)
        if not association.messages.send(int(context.context_id), octets, [identifier]):
            raise self._away("broke off")

    def _received(self, association: RequestedAssociation) -> tuple[int, Any]:
        if (message := association.received()) is None:
            raise self._away("broke off, or says nothing")
        return message

    def _away(self, what: str) -> ArchiveAway:
        return ArchiveAway(f"the archive {self.name} {what}")


def by_dimse(
    settings: ImagingSourceSettings, node: Node, name: str, archive: ArchiveSettings, moves: Moves
) -> DimseArchive:
    """The archive `name` of the settings, as `node` asks it."""
    entity = ApplicationEntities(settings, Rights(settings))[archive.ae_title or ""]
    assert entity is not None
    return DimseArchive(name, entity, settings, retrieval=archive.retrieve, host=node.address, moves=moves)


async def _taken(take: Take, file: ReceivedFile) -> None:
    await take(file)


def _attributes(keys: Mapping[int, Sequence[str]]) -> dict[str, Any]:
    return {f"{tag:08X}": _element(implicit_vr(tag), values) for tag, values in keys.items()}


def _element(vr: str, values: Sequence[str]) -> dict[str, Any]:
    if vr == "SQ" or not values:
        return {"vr": vr}
    return {"vr": vr, "Value": [{"Alphabetic": one} if vr == "PN" else one for one in values]}


def _portions(instances: Sequence[ListedInstance]) -> Iterator[dict[int, Sequence[str]]]:
    """Identifiers that name all of `instances`, series by series."""
    key = attrgetter("study_instance_uid", "series_instance_uid")
    for (study, series), group in groupby(sorted(instances, key=key), key=key):
        uids = [one.sop_instance_uid for one in group]
        for start in range(0, len(uids), _MOST_UIDS):
            yield {_STUDY: (study,), _SERIES: (series,), _INSTANCE: uids[start : start + _MOST_UIDS]}


def _storage_contexts(classes: Sequence[str]) -> Iterator[PresentationContext]:
    """For each SOP class one context of what is plain, and as many others as there is room for: what is
    stored so comes so."""
    room = (_MOST_CONTEXTS - 1) // max(1, len(classes)) - 1
    compressed = [uid for uid in TRANSFER_SYNTAXES if uid not in _PLAIN][:room]
    for uid in classes:
        yield build_context(uid, list(_PLAIN))
        for syntax in compressed:
            yield build_context(uid, syntax)


def _digest(attributes: Attributes, study: Attributes) -> str:
    content = [{key: one for key, one in attributes.items() if key not in _OF_ANSWER}]
    content.append({f"{tag:08X}": study.get(f"{tag:08X}", {}) for tag in _PATIENT})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
