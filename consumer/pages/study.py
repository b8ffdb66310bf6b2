"""The page of a study, a small picture of it, and its images to keep."""

from __future__ import annotations

from consumer.front import rad107
from consumer.front.rad107 import FetchedResponse
from consumer.pages.delivery import decode_handle, encode_instance
from consumer.pages.page import PageUnit, page_served
from consumer.pages.workplace import FetchedInstance
from consumer.store.ohif import installed
from shared.audit.events import AuditEvent, Outcome
from shared.http.problem import NotFound
from shared.imaging import wado_rs
from shared.imaging.wado_rs import RetrieveRequest
from shared.messages.rad107 import EVENT_TYPE
from shared.pages.link import PageLink, decode_link
from shared.pages.page import Page
from shared.security.caller import Caller


async def study(unit: PageUnit, link: PageLink) -> Page:
    """Show a study by its manifest (ITI-18, ITI-43), with a link to each of its images."""
    opened_study = await unit.parts.workplace.open_handle(unit.visitor, link.handle)
    has_ohif = installed(unit.parts.workplace.settings.data) is not None
    return await unit.page(
        "study.html", link.browser, opened=opened_study, handle=link.handle, has_ohif=has_ohif
    )


async def thumbnail(unit: PageUnit, handle: str) -> FetchedResponse:
    """Give a small picture of a study, as the front gives it: its registry is asked first."""
    room = unit.parts.room
    study_instance_uid, patient_id = unit.parts.workplace.study_behind(unit.visitor, handle)
    if not study_instance_uid:
        raise NotFound("no entry of this study says its UID; open it for its images")
    opened_study = await room.study_of_patient(unit.visitor, study_instance_uid, patient_id)
    return await rad107.thumbnail(room, unit.visitor, opened_study)


def audit_thumbnail(
    _: str, response: FetchedResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the transfer; of which study it was to be, a handle that leads nowhere does not say."""
    return wado_rs.audit(RetrieveRequest(study_instance_uid=""), response, caller, outcome)


async def image(unit: PageUnit, handle: str) -> FetchedInstance:
    """Give an image as DICOM (RAD-69, else RAD-107)."""
    return await unit.parts.workplace.fetch(unit.visitor, handle)


SERVED = (
    page_served(name="Study", routes=("GET /studies/{handle}",), decode=decode_link, handle=study),
    page_served(
        name="Thumbnail",
        routes=("GET /studies/{handle}/thumbnail",),
        decode=decode_handle,
        handle=thumbnail,
        audit=audit_thumbnail,
        event=EVENT_TYPE,
        encode=rad107.encode,
    ),
    page_served(
        name="Image",
        routes=("GET /instances/{handle}",),
        decode=decode_handle,
        handle=image,
        encode=encode_instance,
    ),
)
