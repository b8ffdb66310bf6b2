"""A token opens one study for minutes, for the person and at the node it was given to, within its session."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from consumer.front.reading_room import ReadingRoom
from consumer.front.tokens import COOKIE, LIFETIME_SECONDS, FrontToken, StudyTokens, study_token_of
from shared.http.problem import Forbidden
from shared.pages.sessions import Sessions
from shared.pages.visitors import Visitor, token_of
from shared.rest.message import HttpRequest
from shared.security.caller import Caller, Node

HERE = Node(address="127.0.0.1")
KEY = b"k" * 32
ASSERTION = b"<Assertion/>"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def request(address: str = "127.0.0.1", **headers: str) -> HttpRequest:
    scope: Any = {
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": (address, 1),
        "path": "/dicomweb/studies",
        "query_string": b"",
    }
    return HttpRequest(scope, None, "GET /dicomweb/studies")  # type: ignore[arg-type]


def a_session() -> tuple[Sessions, str]:
    sessions = Sessions()
    visitor = Visitor(caller=Caller(node=HERE, endpoint=""), assertion=ASSERTION)
    return sessions, sessions.open(visitor)


def test_a_token_leads_to_the_assertion_of_its_session_until_that_ends():
    sessions, number = a_session()
    tokens = StudyTokens(KEY)
    scheme = FrontToken(tokens=tokens, sessions=sessions)
    token = tokens.issue(number, HERE, patient_id="P^^^&1&ISO", study_instance_uid="1.2")

    by_header = request(authorization=f"Bearer {token}")
    by_cookie = request(cookie=f"{COOKIE}={token}")
    assert scheme.token(by_header) == scheme.token(by_cookie) == token_of(ASSERTION)
    assert study_token_of(by_header) == token
    assert scheme.token(request("192.0.2.1", authorization=f"Bearer {token}")) == ""

    sessions.close(number)
    assert scheme.token(by_header) == ""


def test_an_assertion_is_not_taken_for_a_token_and_wins_over_a_cookie():
    tokens = StudyTokens(KEY)
    scheme = FrontToken(tokens=tokens, sessions=Sessions())
    token = tokens.issue("", HERE, patient_id="P^^^&1&ISO", study_instance_uid="1.2")

    assert scheme.token(request(authorization="Bearer abc", cookie=f"{COOKIE}={token}")) == "abc"
    assert scheme.token(request()) is None


def test_a_token_is_over_after_minutes_and_cannot_be_made_or_changed():
    clock = Clock()
    tokens = StudyTokens(KEY, clock)
    token = tokens.issue("n", HERE, patient_id="P^^^&1&ISO", study_instance_uid="1.2")
    grant = tokens.read(token)
    assert grant is not None
    assert (grant.patient_id, grant.study_instance_uid) == ("P^^^&1&ISO", "1.2")

    assert tokens.read(token[:-3] + "AAA") is None
    assert StudyTokens(b"k" * 31 + b"l", clock).read(token) is None
    assert tokens.read("study.") is None
    assert not {"P^^^", "1.2"} & {token}
    clock.now = LIFETIME_SECONDS
    assert tokens.read(token) is None


def test_a_token_for_one_study_opens_no_other():
    tokens = StudyTokens(KEY)
    room: Any = SimpleNamespace(tokens=tokens)
    token = tokens.issue("n", HERE, patient_id="P^^^&1&ISO", study_instance_uid="1.2")

    grant = ReadingRoom.grant(room, token, "1.2")
    assert grant is not None
    assert grant.study_instance_uid == "1.2"
    assert ReadingRoom.grant(room, "", "1.3") is None
    for other in ((token, "1.3"), ("study.AAAA", "1.2")):
        with pytest.raises(Forbidden):
            ReadingRoom.grant(room, *other)
