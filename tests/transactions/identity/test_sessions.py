"""Who is signed in at one process is so at the others, after a restart too, until it ends for all of them."""

from __future__ import annotations

import asyncio
from http.cookiejar import Cookie
from pathlib import Path

from sqlalchemy import select

from identity.domain.authorization import SignIn
from identity.store import people, sessions
from identity.store.page_key import page_key
from identity.store.sessions import Sessions, SignedInPerson
from identity.store.tables import session
from shared.pages.sessions import IDLE_SECONDS, LONGEST_SECONDS, MOST_OF_ONE_USER
from shared.security.caller import Caller, Node, User
from tests.support.databases import DatabasePlace
from tests.support.identity import CLIENTS, Stand, asked, given_credentials, identity_service
from tests.transactions.identity.test_sign_in_state import two_processes


def a_person(name: str = "dr.roe") -> SignedInPerson:
    user = User(name_id=name, issuer="https://us", assertion_id="")
    caller = Caller(node=Node(address="192.0.2.7", subject="CN=viewer"), endpoint="https://us", user=user)
    return SignedInPerson(caller=caller, sign_in=SignIn(name=name, seconds=1, methods=("pwd", "otp")))


def keep(stand: Stand, cookies: list[Cookie]) -> None:
    """Have the browser bring these cookies."""
    for cookie in cookies:
        stand.http.cookies.jar.set_cookie(cookie)


async def test_who_is_signed_in_at_one_process_is_so_at_the_other_until_a_sign_out(
    database_place: DatabasePlace,
):
    async with two_processes(database_place) as databases:
        one, other = map(Sessions, databases)
        number = await one.open(a_person())
        found = await other.find(number)
        kept = await databases[0].fetch(select(*session.c))
        ends = await asyncio.gather(one.close(number), other.close(number))
        after = [await each.find(number) for each in (one, other)]
        keys = [await page_key(each) for each in databases]

    assert found == a_person()
    assert not any(number in str(row) for row in kept)
    # Of two sign-outs at once one is recorded.
    assert [end for end in ends if end is not None] == [a_person()]
    assert after == [None, None]
    assert len(keys[0]) == 32
    assert keys[0] == keys[1]


async def test_a_session_ends_once_by_idleness_and_by_the_end_of_a_day(database_place: DatabasePlace):
    now = [1_000_000.0]
    async with two_processes(database_place) as databases:
        one, other = (Sessions(each, lambda: now[0]) for each in databases)
        used, unused = await one.open(a_person()), await one.open(a_person("dr.doe"))
        now[0] += IDLE_SECONDS - 1
        assert await other.find(used) == a_person()
        now[0] += 1
        ended = [await each.take_ended() for each in (one, other)]
        found = [await other.find(number) for number in (used, unused)]
        now[0] = 1_000_000.0 + LONGEST_SECONDS
        after_the_day = await one.find(used)

    assert [one.visitor for each in ended for one in each] == [a_person("dr.doe")]
    assert found == [a_person(), None]
    assert after_the_day is None


async def test_a_person_has_so_many_and_all_together_are_bounded(database_place: DatabasePlace, monkeypatch):
    now = [1_000_000.0]
    async with two_processes(database_place) as databases:
        one, _ = (Sessions(each, lambda: now[0]) for each in databases)
        numbers = []
        for _ in range(MOST_OF_ONE_USER + 1):
            now[0] += 1
            numbers.append(await one.open(a_person()))
        assert await one.find(numbers[0]) is None
        assert await one.number() == MOST_OF_ONE_USER
        monkeypatch.setattr(sessions, "MOST", MOST_OF_ONE_USER)
        try:
            await one.open(a_person("dr.doe"))
        except sessions.TooManySessions:
            refused = True

    assert refused


async def test_a_restart_keeps_sessions_and_forms_that_are_open(tmp_path: Path):
    async with identity_service(tmp_path, clients=CLIENTS) as stand:
        person = await given_credentials(stand, app=True)
        await person.opens("/authorize", **asked())
        cookies = list(stand.http.cookies.jar)
    async with identity_service(tmp_path, clients=CLIENTS) as stand:
        keep(stand, cookies)
        person.http = stand.http
        answer = await person.types()
        cookies = list(stand.http.cookies.jar)
    async with identity_service(tmp_path, clients=CLIENTS) as stand:
        keep(stand, cookies)
        person.http = stand.http
        account = await person.opens()
        await person.sends("/sign-out")
        # Who brings the number of a session that was ended is nobody.
        keep(stand, cookies)
        after = await person.opens()

    assert answer.status_code == 303
    assert "code=" in answer.headers["location"]
    assert "Sign out" in account.text
    assert "Sign out" not in after.text


async def test_the_session_of_who_is_let_in_no_more_ends_at_the_next_page(tmp_path: Path):
    async with identity_service(tmp_path, clients=CLIENTS) as stand:
        person = await given_credentials(stand, app=True)
        await person.opens()
        await person.types()
        before = await person.opens()
        database = stand.service.parts.database
        await database.write(lambda transaction: people.disable(transaction, "dr.roe"))
        after = await person.opens()
        number = await stand.service.sessions.number()

    assert "Sign out" in before.text
    assert "Sign out" not in after.text
    assert number == 0
