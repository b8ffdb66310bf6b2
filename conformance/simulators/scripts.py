"""Every simulated actor with its scripts: `right`, and the ways in which it can be wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from conformance.simulators import wrong_documents, wrong_registries
from conformance.simulators.documents import SimulatedImagingSource, SimulatedRepository
from conformance.simulators.gateway import (
    SimulatedGateway,
    SimulatedInitiatingGateway,
    with_other_home,
    without_home,
)
from conformance.simulators.registry import SimulatedRegistry
from conformance.simulators.server import Delivery, Handler, HttpAnswer, HttpRequest
from conformance.simulators.soap import SoapActor
from conformance.simulators.world import World

RIGHT: Final = "right"
#: Where a peer redirects, and nobody should follow.
ELSEWHERE: Final = "/elsewhere"
_HUGE_OCTETS: Final = 64 * 1024**2
_BOMB: Final = b'<!DOCTYPE s [<!ENTITY a "aaaaaaaaaa">%s]>' % b"".join(
    b'<!ENTITY %c "%s">' % (98 + number, b"&%c;" % (97 + number) * 10) for number in range(9)
)

Answers = Callable[[HttpAnswer], HttpAnswer]


def _as_it_is(answer: HttpAnswer) -> HttpAnswer:
    return answer


@dataclass(frozen=True, slots=True)
class Script:
    """One way to play an actor: what it says for people, by which class, and what becomes of its answers."""

    says: str
    actor: type[SoapActor]
    answers: Answers = _as_it_is


def _delivered(delivery: Delivery) -> Answers:
    return lambda answer: replace(answer, delivery=delivery)


def _huge(answer: HttpAnswer) -> HttpAnswer:
    blanks = b" " * _HUGE_OCTETS
    for end in (b"</s:Body>", b"--simulator--"):
        if end in answer.content:
            before, after = answer.content.split(end, 1)
            return replace(answer, content=b"".join((before, blanks, end, after)))
    return replace(answer, content=answer.content + blanks)


def _bomb(answer: HttpAnswer) -> HttpAnswer:
    content = answer.content.replace(b"<s:Envelope", _BOMB + b"<s:Envelope", 1)
    return replace(answer, content=content.replace(b"<s:Body>", b"<s:Body><!-- -->&j;", 1))


#: Of every actor that speaks HTTP: what becomes of an answer that is right.
DELIVERIES: Final[Mapping[str, tuple[str, Answers]]] = {
    "slow": ("the answer takes ten seconds, piece by piece", _delivered(Delivery.SLOW)),
    "silent": ("the request is taken, and no answer comes", _delivered(Delivery.SILENT)),
    "closed": ("the connection ends without an answer", _delivered(Delivery.CLOSED)),
    "truncated": ("the answer breaks off after two thirds", _delivered(Delivery.TRUNCATED)),
    "endless": ("the answer does not end", _delivered(Delivery.ENDLESS)),
    "too-short": ("Content-Length is half of what it should be", _delivered(Delivery.TOO_SHORT)),
    "huge": ("the answer has 64 MiB of blanks in it", _huge),
    "bomb": ("the answer has entities that expand to a gigabyte", _bomb),
    "no-xml": (
        "a web page comes, as HTTP 200",
        lambda answer: HttpAnswer(b"<html><body>Please sign in</body></html>", "text/html"),
    ),
    "error": ("HTTP 500 with a web page", lambda answer: HttpAnswer(b"<html/>", "text/html", 500)),
    "busy": ("HTTP 503", lambda answer: HttpAnswer(b"", "text/plain", 503, {"Retry-After": "1"})),
    "redirects": (
        f"HTTP 307 to {ELSEWHERE}",
        lambda answer: HttpAnswer(b"", "text/plain", 307, {"Location": ELSEWHERE}),
    ),
}
_REGISTRIES: Final[Mapping[str, type[SimulatedRegistry]]] = {
    "no-relates-to": wrong_registries.NoRelatesTo,
    "one-error-code": wrong_registries.OneErrorCode,
    "accepts-anything": wrong_registries.AcceptsAnything,
    "mixes-patients": wrong_registries.MixesPatients,
    "shows-deprecated": wrong_registries.ShowsDeprecated,
    "ignores-codes": wrong_registries.IgnoresCodes,
    "loses-reference": wrong_registries.LosesReference,
    "always-full": wrong_registries.AlwaysFull,
    "replaces-nothing": wrong_registries.ReplacesNothing,
    "keeps-symbolic-ids": wrong_registries.KeepsSymbolicIds,
    "believes-status": wrong_registries.BelievesStatus,
    "loses-slots": wrong_registries.LosesSlots,
    "takes-twice": wrong_registries.TakesTwice,
}
_DOCUMENTS: Final[Mapping[str, wrong_documents.Change]] = {
    "other-bytes": wrong_documents.other_bytes,
    "other-document": wrong_documents.other_document,
    "other-patient": wrong_documents.other_patient,
    "other-id": wrong_documents.other_id,
    "part-lost": wrong_documents.part_lost,
    "one-missing": wrong_documents.one_missing,
    "last-image-lost": wrong_documents.last_image_lost,
    "nothing": wrong_documents.nothing,
    "no-dicom": wrong_documents.no_dicom,
}
_GATEWAYS: Final = {"no-home": without_home, "other-home": with_other_home}
ACTORS: Final[Mapping[str, type[SoapActor]]] = {
    "registry": SimulatedRegistry,
    "repository": SimulatedRepository,
    "imaging-source": SimulatedImagingSource,
    "responding-gateway": SimulatedGateway,
    "initiating-gateway": SimulatedInitiatingGateway,
}


def scripts(actor: str) -> dict[str, Script]:
    """The scripts of an actor by their names; KeyError for one that nobody plays."""
    right = ACTORS[actor]
    table = {RIGHT: Script("as the standard says", right)}
    if issubclass(right, SimulatedRegistry):
        table |= {name: Script(_first_line(wrong), wrong) for name, wrong in _REGISTRIES.items()}
    elif issubclass(right, SimulatedRepository | SimulatedImagingSource):
        table |= {
            name: Script(_first_line(change), wrong_documents.changed(right, change))
            for name, change in _DOCUMENTS.items()
        }
    elif issubclass(right, SimulatedGateway):
        table |= {name: Script(_first_line(change), change(right)) for name, change in _GATEWAYS.items()}
    table |= {name: Script(says, right, answers) for name, (says, answers) in DELIVERIES.items()}
    return table


def _first_line(documented: object) -> str:
    sentence = (documented.__doc__ or "").splitlines()[0].rstrip(".")
    return sentence[:1].lower() + sentence[1:]


class Cast:
    """The actors behind one address, each at its path; the script of each can be changed while they play."""

    def __init__(self, world: World, actors: Mapping[str, str]) -> None:
        """Play `actors`, each with its script; KeyError for what is none."""
        self.world = world
        self._playing: dict[str, Handler] = {}
        for actor, script in actors.items():
            self.play(actor, script)

    def play(self, actor: str, script: str) -> None:
        """From now on an actor, made anew, plays by a script."""
        of_actor = scripts(actor)[script]
        played = of_actor.actor(self.world)
        self._playing[actor] = lambda request: of_actor.answers(played.handle(request))

    def addresses(self, url: str) -> Iterator[tuple[str, str]]:
        """Each actor with its address, behind the one at `url`."""
        for actor in self._playing:
            yield actor, f"{url}{ACTORS[actor].path}"
            if web := getattr(ACTORS[actor], "web", ""):
                yield f"{actor} (DICOMweb)", f"{url}{web}"

    def handle(self, request: HttpRequest) -> HttpAnswer:
        """Answer as the actor at the request's path."""
        for actor, handler in self._playing.items():
            kind = ACTORS[actor]
            paths = (kind.path, getattr(kind, "web", kind.path))
            if request.path.startswith(paths):
                return handler(request)
        return HttpAnswer(b"nobody is here", "text/plain", 404)
