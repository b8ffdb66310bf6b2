"""What RAD-129 and C-FIND share: from a query to the matches that its caller may know of."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from imaging_source.domain.listing import ListedInstance
from imaging_source.store.catalogue import is_filled
from imaging_source.store.search import (
    Candidate,
    classes_of,
    count_instances,
    find_candidates,
    modalities_of,
)
from imaging_source.unit import Unit
from shared.consent.decision import Action
from shared.dicom.json import Attributes, text, with_base
from shared.imaging.description import patient_issuer
from shared.imaging.header_tags import HEADER_TAGS
from shared.imaging.holding import Access
from shared.imaging.instance import Instance
from shared.imaging.query.levels import QueryLevel, level_of_key, of_level
from shared.imaging.query.matching import UidRule, match
from shared.imaging.query.query import Query
from shared.imaging.transfer_syntax import Codecs, Transcode, choose_default

#: Candidates that one query looks at; then it has to be narrowed.
MAX_CANDIDATES: Final = 100_000
#: Studies that archives are asked for by one query.
MOST_OF_ARCHIVES: Final = 1_000
_STUDY_INSTANCE_UID: Final = 0x0020000D
_CHUNK: Final = 500
# Patients of whom one query is told to the trail as refused.
_MOST_WITHHELD: Final = 100
# Longer ones are given by the resource of metadata alone; of them stands here what the index has.
_MOST_METADATA: Final = 64 * 1024
_MODALITIES: Final = "00080061"
_CLASSES: Final = "00080062"


class CatalogueIncomplete(Exception):
    """Studies that came before an upgrade are not all entered yet: a search would not find them."""

    def __init__(self) -> None:
        super().__init__(
            "what was stored before the upgrade is still being entered; search again in a moment"
        )


class QueryTooWide(Exception):
    """More would have to be looked at than one query may ask for."""

    def __init__(self) -> None:
        super().__init__(
            f"more than {MAX_CANDIDATES} candidates; narrow it by patient, accession number, date or UID"
        )


@dataclass(slots=True)
class Search:
    """One query on its way: `matches` go through what it finds, and what it found stands here for the trail.

    `patients` are those, as CX, of whom a match was told, and `withheld` those of whom consent kept one back,
    each with its reason, the first hundred of them. `warnings` say which archive told nothing, or not all.
    """

    query: Query
    patients: set[str] = field(default_factory=set)
    withheld: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


async def matches(unit: Unit, search: Search, *, at_once: int = _CHUNK) -> AsyncIterator[dict[str, Any]]:
    """What matches and the caller may know of, in the order in which it came, as DICOM JSON.

    What is rejected, set aside or refused is left out, and counts nowhere. `at_once` are looked at together.
    Studies that archives alone have come behind; series and instances of them when their study is named.

    Raises
    ------
    CatalogueIncomplete, QueryTooWide
        Nothing is answered; there is too much to look at.
    """
    database = unit.parts.database
    if not await is_filled(database):
        raise CatalogueIncomplete
    if unit.parts.archives and search.query.level is not QueryLevel.STUDY:
        for study in _named_studies(search.query):
            comparison = await unit.compare(study, Action.QUERY)
            search.warnings += [comparison.reason] if comparison.reason else []
    after, number = ("", ""), 0
    while True:
        if number >= MAX_CANDIDATES:
            raise QueryTooWide
        candidates = await find_candidates(database, search.query, after=after, limit=at_once)
        for attributes in await _told(unit, search, candidates):
            yield attributes
        if len(candidates) < at_once:
            break
        after, number, at_once = candidates[-1].place, number + len(candidates), _CHUNK

    if unit.parts.archives and search.query.level is QueryLevel.STUDY:
        for attributes in await _told_by_archives(unit, search):
            yield attributes


def _named_studies(query: Query) -> Sequence[str]:
    """The studies that a query names by their UIDs."""
    rules = [key.rule for key in query.keys if key.path == (_STUDY_INSTANCE_UID,)]
    return sorted({uid for rule in rules if isinstance(rule, UidRule) for uid in rule.uids})


async def _told_by_archives(unit: Unit, search: Search) -> list[dict[str, Any]]:
    """What is told of studies of which nothing is here; of the others the source tells itself."""
    query = search.query
    studies, silent = await unit.parts.archives.find_studies(query, limit=MOST_OF_ARCHIVES)
    search.warnings += silent
    if len(studies) >= MOST_OF_ARCHIVES:
        search.warnings.append(f"archives have {MOST_OF_ARCHIVES} matches or more; narrow the query")
    uids = [text(one, _STUDY_INSTANCE_UID) for one in studies]
    here = await unit.parts.instances.known_studies(uids)
    matching = {
        uid: one for uid, one in zip(uids, studies, strict=True) if uid not in here and match(one, query.keys)
    }
    access = await unit.access(
        [
            ListedInstance(
                study_instance_uid=uid,
                series_instance_uid="",
                sop_instance_uid=uid,
                patient_id=text(one, 0x00100020),
                issuer_of_patient_id=patient_issuer(one),
            )
            for uid, one in matching.items()
        ],
        Action.QUERY,
    )
    _note_withheld(search, access)
    permitted = {uid: one for uid, one in matching.items() if access[uid].decision.permitted}
    projection = query.told
    search.patients |= {access[uid].patient_id for uid in permitted}
    return [
        projection(
            of_level(one, QueryLevel.STUDY)
            | {
                "00080005": _element("CS", ["ISO_IR 192"]),
                "00080056": _element("CS", ["NEARLINE"]),
                "00081190": _element("UR", [f"{unit.parts.settings.dicomweb_url}/studies/{uid}"]),
            }
        )
        for uid, one in permitted.items()
    ]


def _note_withheld(search: Search, access: Mapping[str, Access]) -> None:
    for decided in access.values():
        if not decided.decision.permitted and len(search.withheld) < _MOST_WITHHELD:
            search.withheld.setdefault(decided.patient_id, decided.decision.reason)


async def _told(unit: Unit, search: Search, candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """What is told of those candidates that match and may be known."""
    query = search.query
    await _complete(unit, query, candidates)
    matching = [one for one in candidates if match(one.attributes, query.keys)]
    instances = await _instances(unit, query, matching)
    access = await unit.access(list(instances.values()), Action.QUERY)
    permitted = [one for one in matching if _permits(access.get(one.sop_instance_uid))]
    _note_withheld(search, access)
    visible = await _counted(unit, query, permitted, instances)
    search.patients |= {access[one.sop_instance_uid].patient_id for one in visible}
    await _add_included(unit, query, visible, instances)
    projection, url = query.told, f"{unit.parts.settings.dicomweb_url}/studies"
    syntaxes = _syntaxes(unit.parts.transcoder.codecs)
    return [projection({**one.attributes, **_of_answer(one, query.level, url, syntaxes)}) for one in visible]


async def _instances(unit: Unit, query: Query, matching: Sequence[Candidate]) -> dict[str, Instance]:
    """The instances that say what matches are, by UID."""
    if query.level is QueryLevel.INSTANCE:
        return {one.sop_instance_uid: one.instance for one in matching if one.instance is not None}
    return await unit.parts.instances.find_instances([one.sop_instance_uid for one in matching])


def _permits(access: Access | None) -> bool:
    return access is not None and access.decision.permitted


async def _complete(unit: Unit, query: Query, candidates: Sequence[Candidate]) -> None:
    """Add what follows from what a study holds, where it is asked for."""
    studies = {one.study_instance_uid for one in candidates}
    keys = {key.path[0] for key in query.keys}
    shown = query.level is QueryLevel.STUDY or query.above
    if shown or int(_MODALITIES, 16) in keys:
        modalities = await modalities_of(unit.parts.database, studies)
        for one in candidates:
            one.attributes[_MODALITIES] = _element("CS", modalities.get(one.study_instance_uid, []))
    if int(_CLASSES, 16) in keys | query.include or (query.whole and shown):
        classes = await classes_of(unit.parts.database, studies)
        for one in candidates:
            one.attributes[_CLASSES] = _element("UI", classes.get(one.study_instance_uid, []))


# --- what is visible ---------------------------------------------------------------------------------


async def _counted(
    unit: Unit, query: Query, matching: Sequence[Candidate], instances: Mapping[str, Instance]
) -> list[Candidate]:
    """Those of which something is visible, with the numbers of what is."""
    if query.level is QueryLevel.INSTANCE:
        hidden = await unit.hidden(list(instances.values()))
        matching = [one for one in matching if one.sop_instance_uid not in hidden]
        if not query.above:
            return list(matching)
    numbers = await _numbers(unit, {one.study_instance_uid for one in matching})
    visible = []
    for one in matching:
        of_study = numbers.get(one.study_instance_uid, {})
        of_series = of_study.get(one.series_instance_uid, 0)
        if of_study and (of_series or query.level is not QueryLevel.SERIES):
            one.attributes["00201206"] = _element("IS", [len(of_study)])
            one.attributes["00201208"] = _element("IS", [sum(of_study.values())])
            if query.level is not QueryLevel.STUDY:
                one.attributes["00201209"] = _element("IS", [of_series])
            visible.append(one)
    return visible


async def _numbers(unit: Unit, studies: Iterable[str]) -> dict[str, dict[str, int]]:
    """How many visible instances each series has that has any."""
    studies = sorted(studies)
    numbers = await count_instances(unit.parts.database, studies)
    remarks = await unit.parts.key_objects.of_studies(studies)
    remarked = {note.study_instance_uid for note in remarks.notes if note.rejects}
    if remarks.set_aside:
        aside = await unit.parts.instances.find_instances(list(remarks.set_aside))
        remarked |= {one.study_instance_uid for one in aside.values()}
    for uid in remarked:
        numbers[uid] = await _visible_numbers(unit, uid)
    return numbers


async def _visible_numbers(unit: Unit, study_instance_uid: str) -> dict[str, int]:
    instances = await unit.parts.instances.find_study(study_instance_uid)
    hidden = await unit.hidden(instances)
    numbers: dict[str, int] = {}
    for one in instances:
        if one.sop_instance_uid not in hidden:
            numbers[one.series_instance_uid] = numbers.get(one.series_instance_uid, 0) + 1
    return numbers


# --- what is told ------------------------------------------------------------------------------------


async def _add_included(
    unit: Unit, query: Query, visible: Sequence[Candidate], instances: Mapping[str, Instance]
) -> None:
    """Add what is asked for and only the whole metadata have: of the instance that says what a match is."""
    if not query.needs(HEADER_TAGS):
        return
    uids = [uid for uid, one in instances.items() if one.metadata_size <= _MOST_METADATA]
    metadata = await unit.parts.instances.metadata(uids)
    base = unit.parts.settings.dicomweb_url
    for one in visible:
        whole: Attributes = json.loads(with_base(metadata.get(one.sop_instance_uid) or b"{}", base))
        for key, element in whole.items():
            level = level_of_key(key)
            if level is not None and level <= query.level:
                one.attributes.setdefault(key, element)


_OF_EACH: Final = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    "00080056": {"vr": "CS", "Value": ["ONLINE"]},
}


def _of_answer(
    one: Candidate, level: QueryLevel, studies_url: str, syntaxes: Callable[[Instance], list[str]]
) -> dict[str, Any]:
    """Where a match can be had, and how."""
    url = f"{studies_url}/{one.study_instance_uid}"
    if level is not QueryLevel.STUDY:
        url = f"{url}/series/{one.series_instance_uid}"
    if one.instance is None:
        return {**_OF_EACH, "00081190": _element("UR", [url])}
    return {
        **_OF_EACH,
        "00081190": _element("UR", [f"{url}/instances/{one.sop_instance_uid}"]),
        "00083002": _element("UI", syntaxes(one.instance)),
    }


def _syntaxes(codecs: Codecs) -> Callable[[Instance], list[str]]:
    """In which transfer syntaxes an instance can be had: that of who asks for none, and its own."""

    @lru_cache(maxsize=64)
    def of(stored: str, has_pixels: bool, decoded_size: int) -> list[str]:
        default = choose_default(stored, has_pixels, decoded_size=decoded_size, codecs=codecs)
        return [default.to, stored] if isinstance(default, Transcode) else [stored]

    return lambda instance: of(instance.transfer_syntax_uid, instance.has_pixels, instance.decoded_size)


def _element(vr: str, values: Sequence[Any]) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}
