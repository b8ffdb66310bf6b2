"""Search by QIDO-RS (RAD-129)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from conformance.plans.images import Study, stored
from conformance.plans.imaging_source.dicomweb import (
    JSON,
    WEB,
    get,
    of_study,
    value,
)
from conformance.plans.probe import Plan, expect, expect_equal
from conformance.plans.stand import Stand

PLAN = Plan("imaging-source")
_QIDO = "DICOM PS3.18 10.6"


def search(stand: Stand, path: Sequence[str], **keys: str) -> list[dict[str, Any]]:
    """The matches of a QIDO-RS search; none for 204."""
    reply = get(stand, path, JSON, urlencode(keys))
    if reply.status == 204:
        return []
    expect_equal(reply.status, 200, "the HTTP status")
    listed: list[dict[str, Any]] = json.loads(reply.content)
    return listed


_KEYS: tuple[tuple[str, Callable[[Study], str], str], ...] = (
    ("StudyInstanceUID", lambda study: study.uid, "2.25.404"),
    ("0020000D", lambda study: study.uid, "2.25.404"),
    ("PatientID", lambda study: study.images[0].patient, "NOBODY"),
    ("AccessionNumber", lambda study: f"A{study.uid[-8:]}", "NONE"),
)
for _number, (_key, _right, _wrong) in enumerate(_KEYS, 1):

    def _matched(
        stand: Stand, key: str = _key, right: Callable[[Study], str] = _right, wrong: str = _wrong
    ) -> None:
        study = stored(stand)
        matches = [value(one, "0020000D") for one in search(stand, ("studies",), **{key: right(study)})]
        expect(study.uid in matches, f"{key} does not find the study")
        expect_equal(search(stand, ("studies",), **{key: wrong}), [], "matches of another value")

    PLAN.add(
        f"IMG-129-10{_number}",
        _QIDO,
        f"studies are found by {_key}, and by another value not",
        _matched,
        needs=WEB,
        option="QIDO-RS",
    )

_NARROWING = (
    ("StudyDate", "20240305", "19000101"),
    ("StudyDate", "20240301-20240331", "19000101-19000102"),
    ("ModalitiesInStudy", "CT", "PX"),
    ("PatientName", "Probe*", "Nobody*"),
)
for _number, (_key, _value, _other) in enumerate(_NARROWING, 11):

    def _narrowed(stand: Stand, key: str = _key, right: str = _value, wrong: str = _other) -> None:
        study = stored(stand)
        study_key = {"StudyInstanceUID": study.uid}
        expect_equal(len(search(stand, ("studies",), **study_key, **{key: right})), 1, "matches")
        expect_equal(len(search(stand, ("studies",), **study_key, **{key: wrong})), 0, "matches")

    PLAN.add(
        f"IMG-129-1{_number}",
        _QIDO,
        f"{_key}={_value} narrows a search of studies",
        _narrowed,
        option="QIDO-RS",
        needs=WEB,
    )


@PLAN.requires("IMG-129-121", "DICOM PS3.18 10.6.3", option="QIDO-RS", needs=WEB)
def _(stand: Stand) -> None:
    """A match of a study has the attributes that PS3.18 requires."""
    study = stored(stand)
    (match,) = search(stand, ("studies",), StudyInstanceUID=study.uid)
    for tag in (
        "00080020", "00080030", "00080050", "00080061", "00080090", "00100010", "00100020", "00100030", "00100040",
        "0020000D", "00200010", "00201206", "00201208",
    ):  # fmt: skip
        expect(tag in match, f"{tag} is missing")
    expect_equal((value(match, "00201206"), value(match, "00201208")), (2, 4), "series and instances")


@PLAN.requires("IMG-129-122", _QIDO, option="QIDO-RS", needs=WEB)
def _(stand: Stand) -> None:
    """The series of a study are found."""
    study = stored(stand)
    matches = sorted(str(value(one, "0020000E")) for one in search(stand, (*of_study(study), "series")))
    expect_equal(matches, sorted({one.series for one in study.images}), "the series")


@PLAN.requires("IMG-129-123", _QIDO, option="QIDO-RS", needs=WEB)
def _(stand: Stand) -> None:
    """The instances of a study are found."""
    study = stored(stand)
    matches = sorted(str(value(one, "00080018")) for one in search(stand, (*of_study(study), "instances")))
    expect_equal(matches, sorted(one.uid for one in study.images), "the instances")


@PLAN.requires("IMG-129-124", _QIDO, option="QIDO-RS", needs=WEB)
def _(stand: Stand) -> None:
    """The instances of a series are found."""
    study = stored(stand)
    path = (*of_study(study), "series", study.images[0].series, "instances")
    expect_equal(len(search(stand, path)), 3, "instances")


@PLAN.requires("IMG-129-125", _QIDO, option="QIDO-RS", needs=WEB)
def _(stand: Stand) -> None:
    """limit and offset give a part of the matches, each once."""
    study = stored(stand)
    path = (*of_study(study), "instances")
    pages = [search(stand, path, limit="2", offset=str(place)) for place in (0, 2)]
    matches = [str(value(one, "00080018")) for page in pages for one in page]
    expect_equal(([len(page) for page in pages], len(set(matches))), ([2, 2], 4), "matches of two pages")


@PLAN.requires("IMG-129-126", _QIDO, option="QIDO-RS", needs=WEB)
def _(stand: Stand) -> None:
    """includefield adds an attribute."""
    study = stored(stand)
    (match,) = search(stand, ("studies",), StudyInstanceUID=study.uid, includefield="00081030")
    expect("0020000D" in match, "Study Instance UID is missing")


@PLAN.requires("IMG-129-127", _QIDO, option="QIDO-RS", needs=WEB)
def _(stand: Stand) -> None:
    """A search without a match is 204, or 200 with an empty list."""
    reply = get(stand, ("studies",), JSON, f"StudyInstanceUID={stand.oid()}")
    expect(reply.status == 204 or reply.content.strip() == b"[]", f"HTTP {reply.status}")


@PLAN.requires("IMG-129-128", _QIDO, option="QIDO-RS", needs=WEB)
def _(stand: Stand) -> None:
    """A limit that is no number is 400."""
    expect_equal(get(stand, ("studies",), JSON, "limit=many").status, 400, "the HTTP status")
