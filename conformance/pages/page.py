"""The pages of the conformance service: what they work with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from conformance.trials.trials import Trials
from conformance.unit import Parts
from shared.pages import page as of_every_service
from shared.pages.template import Templates
from shared.rest.scheme import NodeAlone
from shared.rest.served import ServedRest
from shared.security.rights import Right
from shared.security.speaker import Speaker


@dataclass(frozen=True, slots=True, kw_only=True)
class PageParts(of_every_service.PageParts):
    """What the pages are made of."""

    bench: Parts
    trials: Trials


PageUnit = of_every_service.PageUnit[PageParts]

#: A transaction by which a page is given to whoever is at a node that may ask: nobody signs in here.
page_served: partial[ServedRest[Any, Any]] = partial(
    of_every_service.page_served, right=Right.ASK, speaker=Speaker.NODE, scheme=NodeAlone
)

#: The same, to whoever is at a node that may have systems tested.
test_served: partial[ServedRest[Any, Any]] = partial(
    of_every_service.page_served, right=Right.TEST, speaker=Speaker.NODE, scheme=NodeAlone
)


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


TEMPLATES: Final = Templates(
    "conformance.pages", brand="Conformance", purpose="", filters={"capitalised": _capitalised}
)
