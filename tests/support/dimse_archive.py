"""A small archive by pynetdicom's own service classes, which is right, or wrong in one way."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt

from conformance.instances import CT, EXPLICIT, IMPLICIT, MULTIFRAME, RLE
from conformance.plans.dimse import (
    COMMITMENT,
    COMMITMENT_INSTANCE,
    PATIENT_FIND,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    EntityAddress,
)

TITLE = "ARCHIVE"
LEVELS = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
Instances = list[Dataset]


def _matches(value: str, key: str) -> bool:
    if "-" in key and key.replace("-", "").isdigit():
        since, _, until = key.partition("-")
        return (since or "0") <= value <= (until or "9")
    return fnmatch.fnmatchcase(value, key.replace("^", "[^]") if "[" in key else key)


def _stored(archive: Archive, event: Any) -> int:
    received: Dataset = event.dataset
    received.file_meta = event.file_meta
    if "StudyInstanceUID" not in received:
        return 0xA900
    archive.instances[str(received.SOPInstanceUID)] = received
    return 0


def _selected(archive: Archive, keys: Dataset) -> Instances:
    """Instances by unique keys and by others."""
    chosen = list(archive.instances.values())
    for element in keys:
        if element.keyword in ("QueryRetrieveLevel", "SpecificCharacterSet") or not element.value:
            continue
        wanted = element.value if element.VM > 1 else [element.value]
        keyword = "Modality" if element.keyword == "ModalitiesInStudy" else element.keyword
        chosen = [
            one for one in chosen if any(_matches(str(one.get(keyword, "")), str(key)) for key in wanted)
        ]
    return chosen


def _found(archive: Archive, keys: Dataset) -> Instances:
    """One match for each entity of the level."""
    level = keys.get("QueryRetrieveLevel", "")
    entities = {str(one[LEVELS[level]].value): one for one in archive.selected(archive, keys)}
    matches = []
    for one in entities.values():
        match = Dataset()
        match.QueryRetrieveLevel, match.RetrieveAETitle = level, TITLE
        for element in keys:
            if element.keyword in one:
                setattr(match, element.keyword, one[element.keyword].value)
        matches.append(match)
    return matches


def _committed(archive: Archive, action: Dataset) -> tuple[int, Dataset]:
    """The result about a request."""
    result = Dataset()
    result.TransactionUID = action.TransactionUID
    result.ReferencedSOPSequence, failed = [], []
    for item in action.ReferencedSOPSequence:
        one = archive.instances.get(str(item.ReferencedSOPInstanceUID))
        if one is not None and one.SOPClassUID == item.ReferencedSOPClassUID:
            result.ReferencedSOPSequence.append(item)
        else:
            item.FailureReason = 0x0112 if one is None else 0x0119
            failed.append(item)
    if failed:
        result.FailedSOPSequence = failed
    return 2 if failed else 1, result


def _takes(archive: Archive, action: Dataset) -> bool:
    """Whether a request for commitment is one."""
    return bool(action.get("TransactionUID") and action.get("ReferencedSOPSequence"))


@dataclass
class Archive:
    """What it keeps, and how it does what; each can be done wrongly."""

    destination: EntityAddress
    instances: dict[str, Dataset] = field(default_factory=dict)
    syntaxes: tuple[str, ...] = (EXPLICIT, IMPLICIT, RLE)
    store: Callable[[Archive, Any], int] = _stored
    selected: Callable[[Archive, Dataset], Instances] = _selected
    found: Callable[[Archive, Dataset], Instances] = _found
    given: Callable[[Archive, Dataset], Instances] = _selected
    committed: Callable[[Archive, Dataset], tuple[int, Dataset]] = _committed
    takes: Callable[[Archive, Dataset], bool] = _takes
    anywhere: bool = False
    """Whether every destination of C-MOVE is taken for ours."""

    def answer_find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        """C-FIND."""
        if event.identifier.get("QueryRetrieveLevel") not in LEVELS:
            yield 0xA900, None
            return
        for match in self.found(self, event.identifier):
            yield 0xFF00, match

    def answer_get(self, event: Any) -> Iterator[Any]:
        """C-GET."""
        instances = self.given(self, event.identifier)
        yield len(instances)
        for one in instances:
            yield 0xFF00, one

    def answer_move(self, event: Any) -> Iterator[Any]:
        """C-MOVE."""
        if event.move_destination != self.destination.title and not self.anywhere:
            yield None, None
            return
        contexts = [build_context(uid, one) for uid in (CT, MULTIFRAME) for one in self.syntaxes]
        yield self.destination.host, self.destination.port, {"contexts": contexts}
        yield from self.answer_get(event)

    def answer_action(self, event: Any) -> tuple[int, None]:
        """N-ACTION; the result follows by an association of its own."""
        action = event.action_information
        if not self.takes(self, action):
            return 0x0120, None
        if action.get("TransactionUID"):
            threading.Thread(target=self._report, args=(action,)).start()
        return 0, None

    def _report(self, action: Dataset) -> None:
        event_type, result = self.committed(self, action)
        there = self.destination
        association = AE(TITLE).associate(
            there.host,
            there.port,
            [build_context(COMMITMENT)],
            ae_title=there.title,
            ext_neg=[build_role(COMMITMENT, scp_role=True)],
        )
        association.send_n_event_report(result, event_type, COMMITMENT, COMMITMENT_INSTANCE)
        association.release()

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Its address while it listens."""
        entity = AE(TITLE)
        for uid in (VERIFICATION, STUDY_FIND, PATIENT_FIND, STUDY_MOVE, STUDY_GET, COMMITMENT):
            entity.add_supported_context(uid)
        for uid in (CT, MULTIFRAME):
            entity.add_supported_context(uid, list(self.syntaxes), scu_role=True, scp_role=True)
        handlers = [
            (evt.EVT_C_STORE, lambda event: self.store(self, event)),
            (evt.EVT_C_FIND, self.answer_find),
            (evt.EVT_C_GET, self.answer_get),
            (evt.EVT_C_MOVE, self.answer_move),
            (evt.EVT_N_ACTION, self.answer_action),
        ]
        server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        try:
            yield f"{TITLE}@127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


# --- what it can do wrongly ------------------------------------------------------------------------------


def _without(keyword: str) -> Callable[[Archive, Dataset], Instances]:
    """Instances by the other keys."""

    def selected(archive: Archive, keys: Dataset) -> Instances:
        others = Dataset()
        others.update({one.tag: one for one in keys if one.keyword != keyword})
        return _selected(archive, others)

    return selected


def _changed(change: Callable[[Dataset], None]) -> Callable[[Archive, Dataset], Instances]:
    """What comes, each copied and changed."""

    def given(archive: Archive, keys: Dataset) -> Instances:
        instances = []
        for one in _selected(archive, keys):
            copied = Dataset(one)
            copied.file_meta = one.file_meta
            change(copied)
            instances.append(copied)
        return instances

    return given


def _of_matches(change: Callable[[Dataset, Dataset], None]) -> Callable[[Archive, Dataset], Instances]:
    def found(archive: Archive, keys: Dataset) -> Instances:
        matches = _found(archive, keys)
        for match in matches:
            change(match, next(iter(archive.selected(archive, keys))))
        return matches

    return found


def _drop(keyword: str) -> Callable[[Dataset, Dataset], None]:
    def change(match: Dataset, _: Dataset) -> None:
        if keyword in match:
            del match[keyword]

    return change


def _everything(match: Dataset, instance: Dataset) -> None:
    match.PatientBirthDate = instance.PatientBirthDate


def _blackened(one: Dataset) -> None:
    one.PixelData = bytes(len(one.PixelData))


def _renamed(one: Dataset) -> None:
    one.PatientName = "Other^Name"


def _all_committed(_: Archive, action: Dataset) -> tuple[int, Dataset]:
    result = Dataset()
    result.TransactionUID = action.TransactionUID
    result.ReferencedSOPSequence = action.ReferencedSOPSequence
    return 1, result


def _event_of_success(archive: Archive, action: Dataset) -> tuple[int, Dataset]:
    return 1, _committed(archive, action)[1]


def _one_reason(archive: Archive, action: Dataset) -> tuple[int, Dataset]:
    event_type, result = _committed(archive, action)
    for item in result.get("FailedSOPSequence", ()):
        item.FailureReason = 0x0110
    return event_type, result


def _forgets_one(archive: Archive, action: Dataset) -> tuple[int, Dataset]:
    event_type, result = _committed(archive, action)
    result.ReferencedSOPSequence = result.ReferencedSOPSequence[:-1]
    return event_type, result


def _keeps_nothing(_: Archive, __: Any) -> int:
    return 0


def _takes_anything(archive: Archive, event: Any) -> int:
    _stored(archive, event)
    return 0


def _fails_the_second_time(archive: Archive, event: Any) -> int:
    return 0x0111 if str(event.dataset.SOPInstanceUID) in archive.instances else _stored(archive, event)


#: Each way in which it can be wrong, by what it is called.
WRONG: dict[str, dict[str, Any]] = {
    "says that it stores, and keeps nothing": {"store": _keeps_nothing},
    "stores what is of no study": {"store": _takes_anything},
    "fails when an instance comes again": {"store": _fails_the_second_time},
    "takes no compressed images": {"syntaxes": (EXPLICIT, IMPLICIT)},
    "ignores the date": {"selected": _without("StudyDate")},
    "ignores the patient": {"selected": _without("PatientID")},
    "ignores the name": {"selected": _without("PatientName")},
    "ignores the accession number": {"selected": _without("AccessionNumber")},
    "ignores the modality": {"selected": _without("ModalitiesInStudy")},
    "tells nobody where a match is": {"found": _of_matches(_drop("RetrieveAETitle"))},
    "tells no level": {"found": _of_matches(_drop("QueryRetrieveLevel"))},
    "leaves out a key that was asked for": {"found": _of_matches(_drop("StudyID"))},
    "tells what was not asked for": {"found": _of_matches(_everything)},
    "finds the first match alone": {"found": lambda archive, keys: _found(archive, keys)[:1]},
    "tells each match twice": {"found": lambda archive, keys: _found(archive, keys) * 2},
    "loses one instance": {"given": lambda archive, keys: _selected(archive, keys)[1:]},
    "gives everything that it has": {"given": lambda archive, keys: list(archive.instances.values())},
    "gives the study where one instance is asked for": {"given": _without("SOPInstanceUID")},
    "gives other pixels": {"given": _changed(_blackened)},
    "gives another name": {"given": _changed(_renamed)},
    "moves to whoever is named": {"anywhere": True},
    "commits to everything": {"committed": _all_committed},
    "tells failures as a success": {"committed": _event_of_success},
    "has one reason for all failures": {"committed": _one_reason},
    "forgets an instance in its result": {"committed": _forgets_one},
    "takes requests without transaction": {
        "takes": lambda archive, action: bool(action.get("ReferencedSOPSequence"))
    },
    "takes requests about nothing": {"takes": lambda archive, action: bool(action.get("TransactionUID"))},
}


def an_archive(destination: EntityAddress, wrong: str = "") -> Archive:
    """One that is right, or wrong in one way."""
    return replace(Archive(destination), **WRONG.get(wrong, {}))
