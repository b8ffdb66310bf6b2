"""Taking studies over: into an archive of the hospital, or as a ZIP to keep; the orders of who asks, how far
each is, and what is missing.

What is ordered is done beside the requests (`consumer.background.take_over_queue`), and recorded where it is.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from consumer.domain.destination import Destination, Kind
from consumer.pages.desk import Step
from consumer.pages.handle_kind import HandleKind
from consumer.pages.known_here import KnownHere, known_here
from consumer.pages.page import PageUnit, page_served
from consumer.store.take_overs import TakeOver, TakeOverOrder, TakeOvers, TakeOverState
from shared.http.pieces import FileRange
from shared.http.problem import Conflict, NotFound, StorageFull
from shared.imaging.local_identity import LocalIdentity, WrongIdentity
from shared.pages.browser import Browser, decode_browser
from shared.pages.following import Progress, encode_progress
from shared.pages.forms import SentForm, of_our_pages
from shared.pages.link import LinkFields, LinkForm, PageLink, decode_link
from shared.pages.page import Page, WrongForm, see
from shared.rest.message import HttpResponse
from shared.store.space import space_of

#: The choice of a ZIP, beside the names of archives.
ZIP: Final = "zip"
_MOST: Final = 50
_LONGEST: Final = 100
_DATE: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)")


class OrderFields(LinkFields):
    """Where a study goes, and under which identifiers of the own hospital."""

    to: str = ""
    patient_id: str = ""
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""
    accession: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownOrder:
    """One order as its page shows it; `missing` are SOP Instance UIDs with why."""

    handle: str
    title: str
    to: str
    local_id: str
    ordered: str
    state: TakeOverState
    total: int
    there: int
    missing: tuple[tuple[str, str], ...]
    step: Step | None
    ended: str
    is_file: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFile:
    """A ZIP as it is given away."""

    name: str
    file: FileRange


# --- to order -----------------------------------------------------------------------------------------


async def form(unit: PageUnit, link: PageLink) -> Page:
    """Give the form by which a study is taken over (ITI-18, ITI-43), and who the patient is here, where a PIX
    manager knows it (ITI-83)."""
    values = await _form_values(unit, link.handle, OrderFields(), "")
    identity: KnownHere | None = values["identity"]
    if identity is not None:
        values["fields"] = OrderFields(patient_id=identity.only)
    return await unit.page("take_over.html", link.browser, **values)


async def _form_values(unit: PageUnit, handle: str, fields: OrderFields, reason: str) -> dict[str, Any]:
    settings = unit.parts.workplace.settings
    opened = await unit.parts.workplace.open_handle(unit.visitor, handle)
    return {
        "opened": opened,
        "handle": handle,
        "archives": list(settings.take_over_to),
        "fields": fields,
        "reason": reason,
        "identity": await known_here(unit, opened.patient_id),
    }


@of_our_pages
async def order(unit: PageUnit, form: SentForm[OrderFields]) -> str:
    """Order a study, and lead to the orders.

    Raises
    ------
    WrongForm
        Something in the form is wrong; its page says what would be right.
    """
    fields, workplace = form.fields, unit.parts.workplace
    cut = fields.model_copy(update={name: str(getattr(fields, name)).strip()[:_LONGEST] for name in _TEXTS})
    orders = _orders(unit)
    manifest_id, home = workplace.manifest_behind(unit.visitor, fields.handle)
    earlier = await asyncio.to_thread(orders.all)
    try:
        local = _local(cut)
        destination = _where(unit, cut, manifest_id, local)
        if len(earlier) >= _MOST:
            raise _Wrong(f"you have {_MOST} orders; forget those that are done, then order again")
    except (_Wrong, WrongIdentity) as wrong:
        values = await _form_values(unit, fields.handle, cut, str(wrong))
        raise WrongForm(str(wrong), "take_over.html", values) from None
    if await asyncio.to_thread(lambda: space_of(workplace.settings.folder).is_short):
        raise StorageFull("there is no room here to fetch a study; tell whoever runs this service")
    # Consent is asked before anything is kept of it.
    opened = await workplace.open_handle(unit.visitor, fields.handle)
    added = await asyncio.to_thread(
        orders.add,
        TakeOverOrder(
            manifest_id=manifest_id,
            home_community_id=home,
            destination=destination.text,
            local=local,
            ordered=datetime.now(UTC),
            title=", ".join(filter(None, (opened.title, opened.date))),
        ),
    )
    unit.parts.desk.begin(unit.visitor, added)
    return "/take-overs"


_TEXTS: Final = ("to", "patient_id", "issuer", "name", "birth_date", "sex", "accession")


class _Wrong(ValueError):
    """Something in the form is wrong; the text says what would be right."""


def _where(unit: PageUnit, fields: OrderFields, manifest_id: str, local: LocalIdentity | None) -> Destination:
    archives = unit.parts.workplace.settings.take_over_to
    if fields.to == ZIP:
        # A study under another id is another file.
        content = json.dumps([manifest_id, asdict(local) if local else {}])
        name = sha256(content.encode()).hexdigest()[:12]
        return Destination.of(str(_folder(unit) / f"{name}.zip"))
    if fields.to not in archives:
        raise _Wrong("choose where the study goes")
    if not fields.patient_id:
        raise _Wrong(
            "the patient id of your hospital is needed: the ids of another hospital would mix up patients "
            "in your archive"
        )
    return Destination.of(archives[fields.to])


def _local(fields: OrderFields) -> LocalIdentity | None:
    values = (fields.patient_id, fields.issuer, fields.name, fields.birth_date, fields.sex, fields.accession)
    if not any(values):
        return None
    # A field for dates writes them with hyphens.
    birth_date = _DATE.sub(r"\1\2\3", fields.birth_date)
    return LocalIdentity(
        patient_id=fields.patient_id,
        issuer=fields.issuer,
        name=fields.name,
        birth_date=birth_date,
        sex=fields.sex,
        accession_number=fields.accession,
    )


# --- what was ordered ---------------------------------------------------------------------------------


def _folder(unit: PageUnit) -> Path:
    """Where the orders of who asks are, and of nobody else."""
    own = sha256(unit.visitor.holder.encode()).hexdigest()[:24]
    return unit.parts.workplace.settings.take_over_folder / own


def _orders(unit: PageUnit) -> TakeOvers:
    return TakeOvers(_folder(unit))


async def _behind(unit: PageUnit, handle: str) -> TakeOver:
    (number,) = unit.parts.workplace.opened(HandleKind.TAKE_OVER, unit.visitor, handle)
    take_over = await asyncio.to_thread(_orders(unit).find, number)
    if take_over is None:
        raise NotFound("this order was forgotten; order the study again")
    return take_over


async def listed(unit: PageUnit, browser: Browser) -> Page:
    """Show the orders of who asks, the newest first."""
    orders = await asyncio.to_thread(_orders(unit).all)
    shown = await asyncio.to_thread(lambda: [_shown(unit, one) for one in orders])
    runs = sum(one.step is not None for one in shown)
    days = unit.parts.workplace.settings.take_over_days
    return await unit.page("take_overs.html", browser, orders=shown, runs=runs, days=days)


def _shown(unit: PageUnit, one: TakeOver) -> ShownOrder:
    destination, outcomes, desk = Destination.of(one.order.destination), one.outcomes, unit.parts.desk
    missing = tuple((uid, reason) for uid, reason in outcomes.items() if reason)
    archives = {text: name for name, text in unit.parts.workplace.settings.take_over_to.items()}
    is_zip = destination.kind is Kind.ZIP
    return ShownOrder(
        handle=unit.parts.workplace.sealed(HandleKind.TAKE_OVER, unit.visitor, one.order.number),
        title=one.order.title or "A study",
        to="ZIP to download" if is_zip else archives.get(one.order.destination, "an archive of before"),
        local_id=one.order.local.patient_id if one.order.local else "",
        ordered=f"{one.order.ordered:%Y-%m-%d %H:%M}",
        state=one.state,
        total=one.total,
        there=len(outcomes) - len(missing),
        missing=missing,
        step=desk.step(one),
        ended=desk.ended(one),
        is_file=is_zip and desk.step(one) is None and destination.path.is_file(),
    )


async def progress(unit: PageUnit, browser: Browser) -> Progress:
    """How far the orders of who asks are, together."""
    orders = await asyncio.to_thread(_orders(unit).all)
    steps = [step for one in orders if (step := unit.parts.desk.step(one))]
    done, of = sum(step.done for step in steps), sum(step.of for step in steps)
    text = ", ".join(f"{step.name} {step.done} of {step.of}" if step.of else "beginning" for step in steps)
    return Progress(runs=bool(steps), text=text[:1].upper() + text[1:] or "Done", done=done, of=of)


@of_our_pages
async def retry(unit: PageUnit, form: SentForm[LinkFields]) -> str:
    """Go on with an order."""
    unit.parts.desk.begin(unit.visitor, await _behind(unit, form.fields.handle))
    return "/take-overs"


@of_our_pages
async def forget(unit: PageUnit, form: SentForm[LinkFields]) -> str:
    """Remove an order and what was fetched for it; what is in an archive stays there."""
    one = await _behind(unit, form.fields.handle)
    if unit.parts.desk.step(one) is not None:
        raise Conflict("it is under way; forget it when it has ended")
    await asyncio.to_thread(_orders(unit).forget, one)
    return "/take-overs"


async def media(unit: PageUnit, link: PageLink) -> MediaFile:
    """Give the ZIP of an order, when the registry shows its study to who asks still (ITI-18)."""
    one = await _behind(unit, link.handle)
    path = Destination.of(one.order.destination).path
    if path.suffix != ".zip" or unit.parts.desk.step(one) is not None or not path.is_file():
        raise NotFound("there is no ZIP of this order, or not yet")
    await unit.parts.workplace.shows(unit.visitor, one.order.manifest_id, one.order.home_community_id)
    return MediaFile(name=one.order.number, file=FileRange(path, 0, path.stat().st_size))


def encode_media(media_file: MediaFile) -> HttpResponse:
    """A file to be kept, and never shown by a browser."""
    return HttpResponse(
        media_type="application/zip",
        headers={
            "content-disposition": f'attachment; filename="study-{media_file.name}.zip"',
            "content-security-policy": "sandbox",
        },
        pieces=(media_file.file,),
    )


SERVED = (
    page_served(
        name="Take-over form", routes=("GET /studies/{handle}/take-over",), decode=decode_link, handle=form
    ),
    page_served(
        name="Order take-over",
        routes=("POST /studies/{handle}/take-over",),
        decode=LinkForm(OrderFields),
        handle=order,
        encode=see,
    ),
    page_served(name="Take-overs", routes=("GET /take-overs",), decode=decode_browser, handle=listed),
    page_served(
        name="Progress of take-overs",
        routes=("GET /take-overs/progress",),
        decode=decode_browser,
        handle=progress,
        encode=encode_progress,
    ),
    page_served(
        name="Retry take-over",
        routes=("POST /take-overs/{handle}/retry",),
        decode=LinkForm(LinkFields),
        handle=retry,
        encode=see,
    ),
    page_served(
        name="Forget take-over",
        routes=("POST /take-overs/{handle}/forget",),
        decode=LinkForm(LinkFields),
        handle=forget,
        encode=see,
    ),
    page_served(
        name="Media of take-over",
        routes=("GET /take-overs/{handle}/media",),
        decode=decode_link,
        handle=media,
        encode=encode_media,
    ),
)
