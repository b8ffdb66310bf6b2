"""The guided pages: which actor is tested, what is to be set up on its side, what is to be told of it; how a
trial begins."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from pydantic import Field

from conformance.pages.page import PageUnit, test_served
from conformance.settings import ConformanceSettings
from conformance.trials.guide import GUIDES, Guide, guide_of
from conformance.trials.order import ENDPOINTS, OrderRefused, TargetDoor, entity_of, ordered, peers_host
from shared.audit import patterns
from shared.audit.events import USE_OF_RESTRICTED_FUNCTION, AuditEvent, Outcome
from shared.http.problem import NotFound
from shared.pages.browser import Browser, decode_browser
from shared.pages.forms import FormBody, FormFields, SentForm, of_our_pages
from shared.pages.page import Page, encode_page, see
from shared.rest.message import HttpRequest, HttpResponse
from shared.security.caller import Caller

#: Where trials are.
TRIALS: Final = "/trials"
_LONG, _SHORT = 128 * 1024, 500


class TrialForm(FormFields):
    """The boxes of every guide; those that a guide does not have stay empty."""

    actor: str = Field("", max_length=_SHORT)
    registry: str = Field("", max_length=_SHORT)
    repository: str = Field("", max_length=_SHORT)
    source: str = Field("", max_length=_SHORT)
    dicomweb: str = Field("", max_length=_SHORT)
    wado: str = Field("", max_length=_SHORT)
    feed: str = Field("", max_length=_SHORT)
    department: str = Field("", max_length=_SHORT)
    initiating: str = Field("", max_length=_SHORT)
    responding: str = Field("", max_length=_SHORT)
    audit: str = Field("", max_length=_SHORT)
    atna: str = Field("", max_length=_SHORT)
    trail: str = Field("", max_length=_SHORT)
    dimse: str = Field("", max_length=_SHORT)
    publisher: str = Field("", max_length=_SHORT)
    front: str = Field("", max_length=_SHORT)
    pages: str = Field("", max_length=_SHORT)
    consumer: str = Field("", max_length=_SHORT)
    domain: str = Field("", max_length=_SHORT)
    home: str = Field("", max_length=_SHORT)
    repository_unique_id: str = Field("", max_length=_SHORT)
    retrieve_location_uid: str = Field("", max_length=_SHORT)
    trust: str = Field("", max_length=_LONG)
    assertion: str = Field("", max_length=_LONG)
    remove_metadata: str = Field("", max_length=_SHORT)
    metadata_update: str = Field("", max_length=_SHORT)
    remove_documents: str = Field("", max_length=_SHORT)
    frames: str = Field("", max_length=_SHORT)
    rendered: str = Field("", max_length=_SHORT)
    qido_rs: str = Field("", max_length=_SHORT)
    wado_uri: str = Field("", max_length=_SHORT)
    wado_rs: str = Field("", max_length=_SHORT)
    xua: str = Field("", max_length=_SHORT)
    patient_check: str = Field("", max_length=_SHORT)
    of_pages: str = Field("", max_length=_SHORT)
    stow_rs: str = Field("", max_length=_SHORT)
    web_commitment: str = Field("", max_length=_SHORT)
    c_find: str = Field("", max_length=_SHORT)
    c_move: str = Field("", max_length=_SHORT)
    c_get: str = Field("", max_length=_SHORT)
    commitment: str = Field("", max_length=_SHORT)
    publication: str = Field("", max_length=_SHORT)
    department_messages: str = Field("", max_length=_SHORT)
    report_publication: str = Field("", max_length=_SHORT)
    mado: str = Field("", max_length=_SHORT)
    wrong_peers: str = Field("", max_length=_SHORT)
    study_is_there: str = Field("", max_length=_SHORT)

    def values(self) -> Mapping[str, str]:
        """What stands in the boxes, by their names."""
        written: dict[str, str] = self.model_dump(exclude={"token", "actor"})
        return written


@dataclass(frozen=True, slots=True, kw_only=True)
class GuideLink:
    """The guide that is opened in a browser."""

    browser: Browser
    actor: str


async def decode_link(request: HttpRequest) -> GuideLink:
    """Which guide is opened."""
    return GuideLink(browser=Browser.of(request), actor=request.parameters["actor"])


async def guides(unit: PageUnit, browser: Browser) -> Page:
    """Give the actors that can be tested."""
    return await unit.page("guides.html", browser, guides=GUIDES)


async def guide(unit: PageUnit, link: GuideLink) -> Page:
    """Give what is to be set up for an actor, and its boxes."""
    chosen = _guide(link.actor)
    values = {"wrong_peers": "", "study_is_there": "", **{box.name: box.value for box in chosen.boxes}}
    if "domain" in values:
        values["domain"] = unit.parts.bench.settings.affinity_domain
    return await _form(unit, link.browser, chosen, {**values, **dict.fromkeys(chosen.options, "yes")}, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunTrial:
    """A trial that begins: its page, and the addresses that this service connects to or listens at."""

    path: str
    addresses: tuple[str, ...]


@of_our_pages
async def begin(unit: PageUnit, form: SentForm[TrialForm]) -> Page | BegunTrial:
    """Begin a trial, and lead to it; what is wrong in a box is told there."""
    chosen, values = _guide(form.fields.actor), form.fields.values()
    try:
        order = ordered(chosen, values, unit.parts.bench.settings)
    except OrderRefused as refused:
        return await _form(unit, form.browser, chosen, values, refused.wrong)
    id = await unit.parts.trials.begin(order)
    return BegunTrial(path=f"{TRIALS}/{id}", addresses=order.addresses)


def audit_begun(
    form: SentForm[TrialForm], answer: Page | BegunTrial | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe who has which system tested, and who wanted to."""
    actor = form.fields.actor
    if isinstance(answer, BegunTrial):
        description = f"test of {actor} at {answer.path}"
        return (patterns.system_tested(caller, outcome, addresses=answer.addresses, description=description),)
    values = form.fields.values()
    written = [values[name] for name in sorted(ENDPOINTS) if values.get(name)]
    return (
        patterns.system_tested(
            caller,
            Outcome.SERIOUS_FAILURE,
            addresses=written or [TRIALS],
            description=f"no test of {actor or 'any actor'} was begun",
        ),
    )


def encode_begun(answer: Page | BegunTrial) -> HttpResponse:
    """The trial, or the form again."""
    if isinstance(answer, BegunTrial):
        return see(answer.path)
    page = encode_page(answer)
    return HttpResponse(
        status=HTTPStatus.UNPROCESSABLE_ENTITY,
        media_type=page.media_type,
        headers=page.headers,
        pieces=page.pieces,
    )


async def _form(
    unit: PageUnit, browser: Browser, guide: Guide, values: Mapping[str, str], wrong: Mapping[str, str]
) -> Page:
    settings = unit.parts.bench.settings
    return await unit.page(
        "guide.html",
        browser,
        guide=guide,
        values=values,
        wrong=wrong,
        door=TargetDoor(settings).words,
        certificate=_certificate(settings.tls.certificate),
        peers=_ours(guide, settings),
    )


def _guide(actor: str) -> Guide:
    if (chosen := guide_of(actor)) is None:
        raise NotFound("there is no such actor to test; open the list of those that there are")
    return chosen


def _ours(guide: Guide, settings: ConformanceSettings) -> Mapping[str, str]:
    """What of ours the system has to know, by what it is called."""
    if guide.actor == "consumer":
        return _peers(settings)
    if any(box.name == "dimse" for box in guide.boxes):
        title, _, address = entity_of(settings).partition("@")
        return {"Our AE title": title, "Our DIMSE address": address}
    return {}


def _peers(settings: ConformanceSettings) -> Mapping[str, str]:
    """Where a consumer finds the peers that are played, and by which ids."""
    # What is played is made with pydicom, which is loaded for this page alone.
    from conformance.simulators.scripts import RIGHT, Cast
    from conformance.simulators.world import LOCATION, REPOSITORY, World

    over_tls, host = settings.tls.certificate is not None, peers_host(settings)
    base = f"{'https' if over_tls else 'http'}://{host}:{settings.peers_port}"
    world = World(settings.affinity_domain, f"{base}/dicomweb")
    cast = Cast(world, dict.fromkeys(("registry", "repository", "imaging-source"), RIGHT))
    return {
        **{name[:1].upper() + name[1:].replace("-", " "): url for name, url in cast.addresses(base)},
        "Audit repository (syslog)": f"{'tls' if over_tls else 'tcp'}://{host}:{settings.peers_syslog_port}",
        "repositoryUniqueId": REPOSITORY,
        "Retrieve Location UID": LOCATION,
        "Patient id": world.patient_id,
    }


def _certificate(path: Path | None) -> str:
    """Our own, for the system to trust; empty without TLS."""
    return path.read_text("ascii", "replace").strip() if path is not None else ""


async def images(_: PageUnit, __: Browser) -> bytes:
    """Give the images that probes ask for, to be brought into a system by whatever way it has."""
    return await asyncio.to_thread(_zipped)


def _zipped() -> bytes:
    # As above: pydicom is loaded for this alone.
    from conformance.plans.images import the_study

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, image in enumerate(the_study().files, 1):
            archive.writestr(f"{number}.dcm", image.octets)
    return file.getvalue()


def encode_images(octets: bytes) -> HttpResponse:
    """The files, to be kept."""
    headers = {"content-disposition": 'attachment; filename="images.zip"'}
    return HttpResponse(media_type="application/zip", headers=headers, pieces=(octets,))


SERVED = (
    test_served(
        name="Images of the probes",
        routes=("GET /guides/imaging-source/images.zip",),
        decode=decode_browser,
        handle=images,
        encode=encode_images,
    ),
    test_served(name="Actors to test", routes=("GET /guides",), decode=decode_browser, handle=guides),
    test_served(name="Guide", routes=("GET /guides/{actor}",), decode=decode_link, handle=guide),
    test_served(
        name="Begin test",
        routes=(f"POST {TRIALS}",),
        decode=FormBody(TrialForm),
        handle=begin,
        audit=audit_begun,
        event=USE_OF_RESTRICTED_FUNCTION,
        encode=encode_begun,
    ),
)
