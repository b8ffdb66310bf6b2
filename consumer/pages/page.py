"""The pages of the consumer: what they work with, and how what goes wrong is told in them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from consumer.domain.studies import date_of
from consumer.front.reading_room import ReadingRoom
from consumer.pages.criteria import WrongSearch
from consumer.pages.desk import Desk
from consumer.pages.workplace import Workplace
from shared.http.problem import HttpProblem
from shared.pages import page as of_every_service
from shared.pages.template import Templates
from shared.rest.served import ServedRest
from shared.security.rights import Right


@dataclass(frozen=True, slots=True, kw_only=True)
class PageParts(of_every_service.SignInParts):
    """What the pages of the consumer are made of."""

    workplace: Workplace
    room: ReadingRoom
    desk: Desk


PageUnit = of_every_service.PageUnit[PageParts]


class ErrorPage(of_every_service.ErrorPage):
    """A page that says what is wrong; the one to search again, where that would be right."""

    def template_of(self, problem: HttpProblem) -> tuple[str, dict[str, Any]]:
        """The search form for a search that cannot be asked."""
        if isinstance(problem, WrongSearch):
            return "search.html", {
                "searched": problem.searched,
                "wrong": problem.wrong,
                "purposes": problem.purposes,
            }
        return super().template_of(problem)


#: A transaction by which a page is given to whoever is signed in, at a node that may ask for users.
page_served: partial[ServedRest[Any, Any]] = partial(of_every_service.page_served, right=Right.ASK)


def _person(name: str) -> str:
    """A person name of DICOM as people write it: family name, then the others."""
    family, _, others = name.partition("=")[0].partition("^")
    return ", ".join(part for part in (family, " ".join(others.replace("^", " ").split())) if part)


def _sop_class(uid: str) -> str:
    from pydicom.uid import UID  # it loads numpy, and is needed where instances are shown

    return str(UID(uid).name).removesuffix(" Storage")


TEMPLATES: Final = Templates(
    "consumer.pages",
    brand="Imaging",
    purpose="Images are shown to people whom their own organisation vouches for.",
    filters={
        "date": lambda moment: date_of(str(moment)),
        "person": _person,
        "sop_class": _sop_class,
    },
)
