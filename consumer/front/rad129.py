"""QIDO-RS [RAD-129] over what a registry shows: studies of a patient, and what their manifests name
(PS3.18 10.6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from consumer.domain.studies import FoundStudy
from consumer.front.rad107 import FrontUnit
from consumer.front.reading_room import OpenStudy, ReadingRoom
from consumer.front.tokens import FrontToken, study_token_of
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.dicom.uids import is_uid
from shared.ebrim.model import DocumentEntry
from shared.http.problem import BadRequest, NotAcceptable
from shared.imaging import negotiation, qido_rs
from shared.imaging.qido_rs import ROUTES, SearchRequest, SearchResponse, encode, encoded
from shared.imaging.query.levels import QueryLevel
from shared.imaging.query.matching import Match, WrongKey, match
from shared.pages.visitors import Visitor
from shared.rest.message import HttpRequest
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right
from shared.security.speaker import Speaker

_PATIENT_ID: Final = ("PatientID", "00100020")
_STUDY: Final = ("StudyInstanceUID", "0020000D")
# Ids of patients are those of the affinity domain, by which was searched; a source may have others.
_NOT_MATCHED: Final = frozenset({0x00100020, 0x00100021, 0x00100024})


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontSearch:
    """A query, with whose studies or which study it is about, and the token for it that came along."""

    query: SearchRequest
    patient_id: str = ""
    study_instance_uid: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientMatches(SearchResponse):
    """The matches, and for the trail whose they are."""

    patient_id: str = ""


async def decode(request: HttpRequest) -> FrontSearch:
    """Read a query."""
    form = request.form
    patients = [value for name in _PATIENT_ID for value in form.get(name, ())]
    studies = [value for name in _STUDY for value in form.get(name, ())]
    uid = request.parameters.get("study") or (studies[0] if len(studies) == 1 else "")
    return FrontSearch(
        query=await qido_rs.decode(request),
        # OHIF looks for a part of what is typed; whose studies they are must be said in full.
        patient_id=patients[0].strip("*") if patients else "",
        study_instance_uid=uid if is_uid(uid) else "",
        token=study_token_of(request),
    )


async def handle(unit: FrontUnit, request: FrontSearch) -> PatientMatches:
    """Answer with what matches of what the registry shows to the caller."""
    query = request.query.query
    attributes: Iterable[dict[str, Any]]
    if query.level is QueryLevel.STUDY:
        patient_id, attributes, warnings = await _studies(unit, request)
    else:
        patient_id, attributes, warnings = await _of_study(unit, request)
    literal = (request.query.fuzzy or request.query.query).keys
    keys = [key for key in literal if _is_matched(key)]
    end = request.query.offset + request.query.limit
    matches = list(islice((one for one in attributes if match(one, keys)), end + 1))
    page = list(map(query.told, matches[request.query.offset : end]))
    if len(matches) > request.query.offset + len(page):
        warnings = (
            *warnings,
            f"there are more matches; go on with offset={request.query.offset + len(page)}",
        )
    return PatientMatches(
        matches=await encoded(page, request.query.form),
        form=request.query.form,
        warnings=(*request.query.warnings, *warnings),
        patient_id=patient_id,
    )


def _is_matched(key: Match) -> bool:
    return key.path[0] not in _NOT_MATCHED


async def _studies(
    unit: FrontUnit, request: FrontSearch
) -> tuple[str, list[dict[str, Any]], tuple[str, ...]]:
    room, visitor = unit.parts, Visitor.of(unit.caller)
    grant = room.grant(request.token)
    user = visitor.user
    if grant is not None:
        patient_id = grant.patient_id
    elif request.patient_id:
        patient_id = room.patient(request.patient_id)
    elif user is not None and user.resource_ids:
        patient_id = room.patient(user.resource_ids[0])
    elif request.study_instance_uid:
        patient_id = room.patient_of(visitor, request.study_instance_uid)
    else:
        raise BadRequest("whose studies are searched? add PatientID, for example PatientID=P-1001")
    studies, unanswered = await room.find(visitor, patient_id)
    chosen = grant.study_instance_uid if grant else request.study_instance_uid
    warnings = [f"not everybody answered: {one}" for one in unanswered]
    if chosen in studies and (reason := await room.not_opened(visitor, chosen, studies[chosen])):
        warnings.append(f"its manifest, which says more of it, cannot be had: {reason}")
    return (
        patient_id,
        [
            _study(room, uid, entries, room.at_hand(visitor, uid))
            for uid, entries in studies.items()
            if grant is None or uid == chosen
        ],
        tuple(warnings),
    )


async def _of_study(
    unit: FrontUnit, request: FrontSearch
) -> tuple[str, Iterable[dict[str, Any]], tuple[str, ...]]:
    if not request.study_instance_uid:
        raise BadRequest("which study? ask below /dicomweb/studies/{study}, or add StudyInstanceUID")
    study = await unit.parts.study(Visitor.of(unit.caller), request.study_instance_uid, request.token)
    return study.patient_id, _parts(unit.parts, study, request.query.query.level), study.faults


# --- what is told ------------------------------------------------------------------------------------


def _study(
    room: ReadingRoom, uid: str, entries: Sequence[DocumentEntry], opened: OpenStudy | None
) -> dict[str, Any]:
    """A study as the newest of its entries describes it, and its manifest where it is at hand.

    A list of studies fetches no manifests for its dates: each would be an access to a study that nobody
    chose. Until a study is opened its date is the one of the entry, in UTC, and nobody says how many images
    it has.
    """
    entry = entries[0]
    study = FoundStudy.of(entry)
    date, time = opened.began if opened else study.began
    patient = dict(_patient(entry))
    return {
        "00080005": _element("CS", "ISO_IR 192"),
        "00080020": _element("DA", date),
        "00080030": _element("TM", time),
        "00080050": _element("SH", study.accession_number),
        "00080056": _element("CS", "ONLINE"),
        "00080061": _element(
            "CS", *dict.fromkeys(m for one in entries for m in FoundStudy.of(one).modalities)
        ),
        "00081030": _element("LO", study.title),
        "00081190": _element("UR", f"{room.parts.settings.dicomweb_url}/studies/{uid}"),
        "00100010": _element("PN", *({"Alphabetic": name} for name in patient.get("PID-5", ())[:1])),
        "00100020": _element("LO", entry.patient_id.partition("^")[0]),
        "00100030": _element("DA", *patient.get("PID-7", ())[:1]),
        "00100040": _element("CS", *patient.get("PID-8", ())[:1]),
        "0020000D": _element("UI", uid),
        "00201206": _element("IS", len(_sizes(opened)) if opened else ""),
        "00201208": _element("IS", len(opened.instances) if opened else ""),
    }


def _sizes(study: OpenStudy) -> Counter[str]:
    """How many instances each series has."""
    return Counter(one.series_instance_uid for one in study.instances.values())


def _patient(entry: DocumentEntry) -> Iterator[tuple[str, list[str]]]:
    values: dict[str, list[str]] = {}
    for line in entry.source_patient_info:
        field, _, value = line.partition("|")
        if value:
            values.setdefault(field, []).append(value)
    yield from values.items()


def _parts(room: ReadingRoom, study: OpenStudy, level: QueryLevel) -> Iterator[dict[str, Any]]:
    """The series or instances of a study."""
    numbers = _sizes(study)
    above = _study(room, study.study_instance_uid, study.entries, study)
    manifest = study.manifests[0]
    if manifest.study_description:
        above["00081030"] = _element("LO", manifest.study_description)
    base = f"{room.parts.settings.dicomweb_url}/studies/{study.study_instance_uid}/series"
    series: dict[str, dict[str, Any]] = {}
    for uid, referenced in study.series.items():
        series[uid] = above | {
            "00080060": _element("CS", referenced.modality),
            "0008103E": _element("LO", referenced.description),
            "00081190": _element("UR", f"{base}/{uid}"),
            "0020000E": _element("UI", uid),
            "00200011": _element("IS", int(referenced.number) if referenced.number.isdecimal() else ""),
            "00201209": _element("IS", numbers[uid]),
        }
    if level is QueryLevel.SERIES:
        yield from series.values()
        return
    positions: dict[str, int] = {}
    for one in study.instances.values():
        position = positions[one.series_instance_uid] = positions.get(one.series_instance_uid, 0) + 1
        cached = study.collection.arrived(one.sop_instance_uid)
        here = None if cached is None else cached.instance
        number = here.instance_number if here is not None and here.instance_number is not None else position
        yield series[one.series_instance_uid] | {
            "00080016": _element("UI", one.sop_class_uid),
            "00080018": _element("UI", one.sop_instance_uid),
            "00081190": _element("UR", f"{base}/{one.series_instance_uid}/instances/{one.sop_instance_uid}"),
            "00200013": _element("IS", number),
            "00280010": _element("US", (here and here.rows) or ""),
            "00280011": _element("US", (here and here.columns) or ""),
        }


def _element(vr: str, *values: Any) -> dict[str, Any]:
    present = [value for value in values if value != ""]
    return {"vr": vr, "Value": present} if present else {"vr": vr}


# --- the trail ---------------------------------------------------------------------------------------


def audit(
    request: FrontSearch, response: PatientMatches | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the query."""
    return (
        patterns.search(
            SERVED.event_type,
            Side.SERVER,
            caller,
            outcome,
            patient_id=response.patient_id if response else "",
            query_id=SERVED.number,
            octets=request.query.octets,
        ),
    )


SERVED: Final[ServedRest[FrontSearch, PatientMatches]] = ServedRest(
    number="RAD-129",
    name="QIDO-RS Query",
    routes=tuple(ROUTES),
    right=Right.ASK,
    speaker=Speaker.USER,
    scheme=FrontToken,
    decode=decode,
    handle=handle,
    audit=audit,
    encode=encode,
    problems={
        negotiation.Malformed: BadRequest,
        negotiation.NothingAcceptable: NotAcceptable,
        WrongKey: BadRequest,
    },
)
