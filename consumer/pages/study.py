"""The page of a study, and its images to keep."""

from __future__ import annotations

from consumer.pages.delivery import decode_handle, encode_instance
from consumer.pages.page import PageUnit, page_served
from consumer.pages.search import Link, decode_link
from consumer.pages.workplace import FetchedInstance
from shared.pages.page import Page


async def study(unit: PageUnit, link: Link) -> Page:
    """Show a study by its manifest (ITI-18, ITI-43), with a link to each of its images."""
    opened_study = await unit.parts.workplace.open_handle(unit.visitor, link.handle)
    return await unit.page("study.html", link.browser, opened=opened_study, handle=link.handle)


async def image(unit: PageUnit, handle: str) -> FetchedInstance:
    """Give an image as DICOM (RAD-69, else RAD-107)."""
    return await unit.parts.workplace.fetch(unit.visitor, handle)


SERVED = (
    page_served(name="Study", routes=("GET /studies/{handle}",), decode=decode_link, handle=study),
    page_served(
        name="Image",
        routes=("GET /instances/{handle}",),
        decode=decode_handle,
        handle=image,
        encode=encode_instance,
    ),
)
