"""What a viewer shows first, fetched while its scripts are still on their way."""

from __future__ import annotations

from consumer.domain.study import Content
from consumer.front.holding import Holding
from consumer.front.reading_room import ReadingRoom
from shared.attempts import awaited
from shared.http.problem import HttpProblem
from shared.pages.visitors import Visitor
from shared.telemetry.log import logger

_log = logger(__name__)


async def fetch_first_series(
    room: ReadingRoom, visitor: Visitor, study_instance_uid: str, patient_id: str
) -> None:
    """Begin to fetch the first series of images of a study, by the way of a request for its first image.

    What goes wrong is told to whoever asks for it.
    """
    failure = await awaited(_fetch(room, visitor, study_instance_uid, patient_id))
    if failure is not None and not isinstance(failure, HttpProblem):
        _log.error("a study could not be fetched ahead", exc_info=failure)


async def _fetch(room: ReadingRoom, visitor: Visitor, study_instance_uid: str, patient_id: str) -> None:
    study = await room.study_of_patient(visitor, study_instance_uid, patient_id)
    images = (one for one in study.instances.values() if Content.of(one.sop_class_uid) is Content.IMAGE)
    if (first := next(images, None)) is None:
        return
    holding = Holding(room, study, room.consumer(visitor))
    await holding.find_instance(study_instance_uid, first.series_instance_uid, first.sop_instance_uid)
    holding.lease.release()
