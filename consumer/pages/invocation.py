"""IHE Invoke Image Display [RAD-106]: an address with study and patient, which leads whoever is signed in, or
signs in then, to what the pages show of them, and to nothing beside.

The address names a patient, as the profile has it; it is exchanged at once for one that names nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from consumer.domain.studies import Criteria, FoundStudy, WrongCriterion
from consumer.front.problems import NOT_FOUND
from consumer.pages.page import PageUnit, page_served
from consumer.pages.workplace import Workplace
from shared.dicom.uids import is_uid
from shared.http.problem import BadRequest, NotFound, Unprocessable
from shared.pages.browser import Browser
from shared.pages.link import PageLink, decode_link
from shared.pages.page import see
from shared.pages.visitors import Visitor
from shared.rest.message import HttpRequest, HttpResponse
from shared.rest.scheme import NodeAlone
from shared.security.speaker import Speaker

_STUDY, _PATIENT = "STUDY", "PATIENT"
_COOKIE: Final = "xdsi-consumer-invocation"
_SECONDS: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What is to be shown: a study of a patient, by UID or accession number, or the patient's timeline."""

    patient_id: str
    study_instance_uid: str = ""
    accession_number: str = ""
    modalities: tuple[str, ...] = ()
    since: str = ""
    before: str = ""

    def criteria(self, affinity_domain: str) -> Criteria:
        """As the registry is asked.

        Raises
        ------
        Unprocessable
            A parameter is not as it should be.
        """
        try:
            return Criteria.of(
                self.patient_id,
                affinity_domain=affinity_domain,
                modalities=self.modalities,
                since=self.since,
                before=self.before,
            )
        except WrongCriterion as error:
            raise Unprocessable(f"the address cannot be followed: {error.text}") from None

    @property
    def fields(self) -> tuple[str, ...]:
        """As they are sealed."""
        return (
            self.patient_id,
            self.study_instance_uid,
            self.accession_number,
            self.since,
            self.before,
            *self.modalities,
        )

    @classmethod
    def of_fields(cls, fields: Sequence[str]) -> Invocation:
        """What `fields` were."""
        patient_id, study_instance_uid, accession_number, since, before, *modalities = fields
        return cls(
            patient_id=patient_id,
            study_instance_uid=study_instance_uid,
            accession_number=accession_number,
            since=since,
            before=before,
            modalities=tuple(modalities),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InvokedBrowser:
    """An invocation by a browser."""

    browser: Browser
    invocation: Invocation


@dataclass(frozen=True, slots=True, kw_only=True)
class Onward:
    """Where a browser goes on, and the invocation that it keeps until somebody signed in; empty for none."""

    browser: Browser
    path: str
    to_keep: str = ""


async def decode_invocation(request: HttpRequest) -> InvokedBrowser:
    """Read what an address asks for (RAD TF-2 4.106.4.1).

    Raises
    ------
    BadRequest
        It does not say of which patient, or which study.
    """
    parameters = {name.lower(): values[0] for name, values in request.form.items() if values}
    kind = parameters.get("requesttype", "").upper()
    study = parameters.get("studyuid", "")
    invocation = Invocation(
        patient_id=parameters.get("patientid", "").strip(),
        study_instance_uid=study if kind == _STUDY else "",
        accession_number=_accession(parameters) if kind == _STUDY and not study else "",
        modalities=tuple(parameters.get("modalitiesinstudy", "").replace("\\", ",").split(",")),
        since=_date(parameters.get("lowerdatetime", "")),
        before=_date(parameters.get("upperdatetime", "")),
    )
    _checked(kind, invocation)
    return InvokedBrowser(browser=Browser.of(request), invocation=invocation)


def _checked(kind: str, invocation: Invocation) -> None:
    if kind not in (_STUDY, _PATIENT):
        raise BadRequest("say requestType=STUDY or requestType=PATIENT")
    if not invocation.patient_id:
        raise BadRequest("say whose study: add patientID, for example patientID=P-1001")
    if kind == _STUDY and not (invocation.study_instance_uid or invocation.accession_number):
        raise BadRequest("say which study: add studyUID or accessionNumber")
    if invocation.study_instance_uid and not is_uid(invocation.study_instance_uid):
        raise BadRequest("studyUID is the Study Instance UID of one study")


def _accession(parameters: Mapping[str, str]) -> str:
    """The number without the authority that may stand behind it, as CX or as `authority|number`."""
    return parameters.get("accessionnumber", "").partition("^")[0].rpartition("|")[2].strip()


def _date(text: str) -> str:
    """The day and time of an address, DTM or ISO 8601, without fraction and zone."""
    digits = "".join(one for one in text.partition(".")[0][:19] if one.isdecimal())
    return digits[:14]


async def invoke(unit: PageUnit, invoked: InvokedBrowser) -> Onward:
    """Keep what is asked for, and go on with an address that names nobody."""
    handle = unit.parts.workplace.invocation_handle(invoked.invocation.fields)
    return Onward(browser=invoked.browser, path=f"/invocations/{handle}", to_keep=handle)


async def invocation(unit: PageUnit, link: PageLink) -> Onward:
    """Lead to the study, or to the timeline of the patient (ITI-18).

    Raises
    ------
    NotFound
        There is no such study, or none for this visitor.
    """
    workplace = unit.parts.workplace
    asked_for = Invocation.of_fields(workplace.invocation_behind(link.handle))
    path = await path_of(workplace, unit.visitor, asked_for)
    return Onward(browser=link.browser, path=path)


async def path_of(workplace: Workplace, visitor: Visitor, invocation: Invocation) -> str:
    """Where an invocation leads a visitor; raises as `invocation`."""
    criteria = invocation.criteria(workplace.affinity_domain)
    if not (invocation.study_instance_uid or invocation.accession_number):
        return f"/searches/{workplace.search_handle(visitor, criteria)}"
    for entry in (await workplace.entries(visitor, criteria))[0]:
        study = FoundStudy.of(entry)
        if invocation.study_instance_uid in ("", study.study_instance_uid) and (
            invocation.study_instance_uid or invocation.accession_number == study.accession_number
        ):
            return f"/studies/{workplace.manifest_handle(visitor, entry)}/viewer"
    raise NotFound(NOT_FOUND)


def encode_onward(onward: Onward) -> HttpResponse:
    """The address to go on with; the browser keeps an invocation for minutes, or forgets the one it kept."""
    secure = "; Secure" if onward.browser.over_tls else ""
    seconds = _SECONDS if onward.to_keep else 0
    cookie = f"{_COOKIE}={onward.to_keep}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=lax{secure}"
    return see(onward.path, {"set-cookie": cookie})


def kept_invocation(request: HttpRequest) -> str:
    """The handle of the invocation that a browser keeps; empty for none."""
    return request.cookies.get(_COOKIE, "")


SERVED = (
    page_served(
        number="RAD-106",
        name="Invoke Image Display",
        routes=("GET /IHEInvokeImageDisplay",),
        speaker=Speaker.NODE,
        scheme=NodeAlone,
        decode=decode_invocation,
        handle=invoke,
        encode=encode_onward,
    ),
    page_served(
        name="Invocation",
        routes=("GET /invocations/{handle}",),
        decode=decode_link,
        handle=invocation,
        encode=encode_onward,
    ),
)
