"""The front of a consumer: QIDO-RS and WADO-RS for viewers, over what registry, repository and imaging source tell
(RAD-129, RAD-107). The peers are played, so that it is known what is behind."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

from conformance.instances import pixels
from conformance.plans.assertions import AssertionText, signed
from conformance.plans.consumer.peers import peers
from conformance.plans.imaging_source.dicomweb import DICOM_PARTS, JSON, parts_of, value
from conformance.plans.message import Reply
from conformance.plans.probe import NotOffered, Plan, expect, expect_equal
from conformance.plans.stand import Stand
from conformance.simulators.world import OTHER_PATIENT, SERIES, STUDY

PLAN = Plan("consumer", needs=("consumer", "front"), begin=peers)
_QIDO, _WADO = "DICOM PS3.18 10.6", "DICOM PS3.18 10.4"
_AS_STORED: Final = f"{DICOM_PARTS}; transfer-syntax=*"
_OF_STUDY: Final = f"/studies/{STUDY}"
_UIDS: Final = [uid for uids in SERIES.values() for uid in uids]
_INSTANCE: Final = f"{_OF_STUDY}/series/{next(iter(SERIES))}/instances/{_UIDS[0]}"


class User:
    """Somebody at a viewer, of whom the front has kept nothing yet."""

    def __init__(self, stand: Stand) -> None:
        ours = peers(stand)
        self._stand = stand
        self.patient = ours.world.patient
        assertion = ours.voice()
        if (provider := stand.target.provider) is not None:
            text = AssertionText(
                issuer=provider.issuer, audience=provider.audience, name_id=f"viewer-{uuid4().hex[:8]}"
            )
            assertion = signed(text, provider)
        token = urlsafe_b64encode(assertion.encode()).rstrip(b"=").decode()
        self._headers = {"Authorization": f"Bearer {token}"} if assertion else {}

    def get(self, path: str, accept: str = JSON) -> Reply:
        """A GET below the base of the front."""
        url = self._stand.endpoint("front").rstrip("/") + path
        return self._stand.http("GET", url, headers={"Accept": accept, **self._headers})

    def found(self, patient: str = "") -> list[dict[str, Any]]:
        """The studies of a patient: who reads one searches for it before."""
        return _listed(self.get(f"/studies?PatientID={quote(patient or self.patient)}"))


def _listed(reply: Reply) -> list[dict[str, Any]]:
    if reply.status == 204:
        return []
    expect_equal((reply.status, reply.media_type), (200, JSON), "status and media type")
    matches: list[dict[str, Any]] = json.loads(reply.content)
    return matches


def _at_a_study(stand: Stand) -> User:
    user = User(stand)
    user.found()
    return user


def _values(matches: list[dict[str, Any]], tag: str) -> list[str]:
    return sorted(str(value(one, tag)) for one in matches)


# --- searches ------------------------------------------------------------------------------------------


@PLAN.requires("CON-FRONT-101", _QIDO)
def _(stand: Stand) -> None:
    """The study of a patient is found, with its patient and its modality."""
    user = User(stand)
    (match,) = user.found()
    expect_equal(value(match, "0020000D"), STUDY, "Study Instance UID")
    expect_equal(value(match, "00100020"), user.patient, "Patient ID")
    expect_equal(value(match, "00080061"), "CT", "Modalities in Study")


@PLAN.requires("CON-FRONT-102", _QIDO)
def _(stand: Stand) -> None:
    """Of a patient about whom nothing is published nothing is found."""
    expect_equal(User(stand).found(OTHER_PATIENT), [], "matches")


@PLAN.requires("CON-FRONT-103", _QIDO)
def _(stand: Stand) -> None:
    """A search that names no patient gives nobody's studies."""
    reply = User(stand).get("/studies")
    expect(reply.status >= 400 or not _listed(reply), "studies came, and nobody was named")


@PLAN.requires("CON-FRONT-104", _QIDO)
def _(stand: Stand) -> None:
    """The series that the manifest names are found."""
    matches = _listed(_at_a_study(stand).get(f"{_OF_STUDY}/series"))
    expect_equal(_values(matches, "0020000E"), sorted(SERIES), "Series Instance UIDs")


@PLAN.requires("CON-FRONT-105", _QIDO)
def _(stand: Stand) -> None:
    """The instances that the manifest names are found."""
    matches = _listed(_at_a_study(stand).get(f"{_OF_STUDY}/instances"))
    expect_equal(_values(matches, "00080018"), sorted(_UIDS), "SOP Instance UIDs")


@PLAN.requires("CON-FRONT-106", _QIDO)
def _(stand: Stand) -> None:
    """limit and offset give a part of the matches, each once."""
    user = _at_a_study(stand)
    pages = [_listed(user.get(f"{_OF_STUDY}/instances?limit=2&offset={at}")) for at in (0, 2)]
    expect_equal([len(page) for page in pages], [2, 1], "matches of two pages")
    expect_equal(_values([*pages[0], *pages[1]], "00080018"), sorted(_UIDS), "SOP Instance UIDs")


# --- images ----------------------------------------------------------------------------------------------


def _octets(reply: Reply) -> list[bytes]:
    expect_equal(reply.status, 200, "the HTTP status")
    return sorted(octets for _, octets in parts_of(reply))


@PLAN.requires("CON-FRONT-201", _WADO)
def _(stand: Stand) -> None:
    """A study brings every image, as the source gave it."""
    right = sorted(one.octets for one in peers(stand).world.images.values())
    expect(_octets(_at_a_study(stand).get(_OF_STUDY, _AS_STORED)) == right, "an image is another")


@PLAN.requires("CON-FRONT-202", _WADO)
def _(stand: Stand) -> None:
    """An instance comes alone, as the source gave it."""
    octets = _octets(_at_a_study(stand).get(_INSTANCE, _AS_STORED))
    expect(octets == [peers(stand).world.images[_UIDS[0]].octets], "the image is another")


@PLAN.requires("CON-FRONT-203", _WADO)
def _(stand: Stand) -> None:
    """Metadata tell of every image, without its pixels."""
    matches = _listed(_at_a_study(stand).get(f"{_OF_STUDY}/metadata"))
    expect_equal(_values(matches, "00080018"), sorted(_UIDS), "SOP Instance UIDs")
    for match in matches:
        expect("Value" not in match.get("7FE00010", {}), "pixels stand in metadata")


@PLAN.requires("CON-FRONT-204", _WADO)
def _(stand: Stand) -> None:
    """A frame has the pixels of its image."""
    user = _at_a_study(stand)
    reply = user.get(f"{_INSTANCE}/frames/1", 'multipart/related; type="application/octet-stream"')
    expect(_octets(reply) == [pixels(1)], "the pixels are others")


@PLAN.requires("CON-FRONT-205", _WADO)
def _(stand: Stand) -> None:
    """An image is rendered."""
    reply = _at_a_study(stand).get(f"{_INSTANCE}/rendered", "image/jpeg")
    expect_equal((reply.status, reply.media_type), (200, "image/jpeg"), "status and media type")
    expect(reply.content.startswith(b"\xff\xd8"), "the content is no JPEG")


@PLAN.requires("CON-FRONT-206", _WADO)
def _(stand: Stand) -> None:
    """What no manifest names is 404: a study, a series, an instance."""
    user = _at_a_study(stand)
    series = f"{_OF_STUDY}/series/2.25.404"
    for path in ("/studies/2.25.404", series, _INSTANCE.replace(_UIDS[0], "2.25.404")):
        expect_equal(user.get(path, _AS_STORED).status, 404, f"the HTTP status of {path}")


@PLAN.requires("CON-FRONT-207", _WADO)
def _(stand: Stand) -> None:
    """Who did not find a study, and was given no token for it, does not read it by its UID."""
    reply = User(stand).get(_OF_STUDY, _AS_STORED)
    expect(reply.status in (401, 403, 404), f"HTTP {reply.status}, and 404 would be right")


# --- sources that are wrong ------------------------------------------------------------------------------


def _by_a_wrong_source(script: str, *, most: int = 0) -> Callable[[Stand], None]:
    """A source plays by a script: no more than `most` images come, and the answer does not say that it is all."""

    def ask(stand: Stand) -> None:
        ours = peers(stand)
        if stand.target.provider is None:
            raise NotOffered("a user of whom nothing is kept is needed (--issuer)")
        ours.play(imaging_source=script)
        try:
            reply = _at_a_study(stand).get(_OF_STUDY, _AS_STORED)
        finally:
            ours.play()
        expect(reply.status != 200, "the study is given as if it were whole")
        right = [one.octets for one in ours.world.images.values()]
        octets = [one for _, one in parts_of(reply)] if reply.status == 206 else []
        expect(len(octets) <= most, f"{len(octets)} images came")
        expect(all(one in right for one in octets), "an image came that the manifest does not mean")

    return ask


for _number, (_purpose, _script, _most) in enumerate(
    (
        ("an instance of another patient is not given", "other-patient", 0),
        ("an instance with another SOP Instance UID is not given", "other-document", 0),
        ("a web page is no instance", "no-dicom", 0),
        ("a study of which an image is left out is not given as whole", "one-missing", 2),
        ("a study of which a part does not come is not given as whole", "part-lost", 2),
        ("a source that fails gives no study", "error", 0),
        ("an answer that breaks off is not given as whole", "truncated", 2),
        ("a study of which one image never comes is not given as whole", "last-image-lost", 2),
    ),
    1,
):
    PLAN.add(f"CON-FRONT-30{_number}", _WADO, _purpose, _by_a_wrong_source(_script, most=_most))


@PLAN.requires("CON-FRONT-401", "DICOM PS3.15 E")
def _(stand: Stand) -> None:
    """No address that the front writes says who the patient is."""
    user = User(stand)
    (match,) = user.found()
    urls = [str(value(match, "00081190") or "")]
    urls += [str(value(one, "00081190") or "") for one in _listed(user.get(f"{_OF_STUDY}/instances"))]
    expect(not [one for one in urls if user.patient in one], "a Retrieve URL names the patient")


@PLAN.requires("CON-FRONT-402", "RFC 9111 5.2")
def _(stand: Stand) -> None:
    """What is about a patient is stored by no cache that others share."""
    user = User(stand)
    user.found()
    for path, accept in ((f"{_OF_STUDY}/instances", JSON), (_INSTANCE, _AS_STORED)):
        stated = user.get(path, accept).headers.get("cache-control", "")
        expect("no-store" in stated or "private" in stated, f"Cache-Control of {path} is {stated!r}")
