"""What pages keep is there after a restart, for every process of a folder, and for no reader of its file."""

from __future__ import annotations

import multiprocessing
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from consumer.pages.handle_kind import HandleKind
from shared.pages.browser import Browser
from shared.pages.forms import FormFields, Forms, SentForm
from shared.pages.handles import Handles
from shared.pages.sessions import IDLE_SECONDS, LONGEST_SECONDS, MOST_OF_ONE_USER, Sessions
from shared.pages.shelf import Shelf
from shared.pages.visitors import Visitor
from shared.security.caller import Caller, Node, User

ASSERTION = b"<saml:Assertion>of dr.roe</saml:Assertion>"
FILE, KEY = "pages.db", "pages.key"


def a_visitor(name_id: str = "dr.roe") -> Visitor:
    user = User(name_id=name_id, issuer="https://idp.example", assertion_id="_1")
    node = Node(address="192.0.2.7", subject="CN=viewer")
    return Visitor(caller=Caller(node=node, endpoint="https://us", user=user), assertion=ASSERTION)


def taken_by(folder: Path, numbers: list[str], answers: multiprocessing.SimpleQueue[list[str]]) -> None:
    """What a process of its own takes."""
    shelf = Shelf(folder)
    answers.put([number for number in numbers if shelf.take("launch", number)])


def test_a_person_stays_signed_in_when_the_service_starts_anew(tmp_path: Path):
    shelf = Shelf(tmp_path)
    number = Sessions(shelf).open(a_visitor())
    shelf.close()

    session = Sessions(Shelf(tmp_path)).find(number)

    assert session is not None
    assert session.visitor == a_visitor()


def test_who_signs_out_is_signed_out_at_every_process(tmp_path: Path):
    one, other = (Sessions(Shelf(tmp_path)) for _ in range(2))
    number = one.open(a_visitor())
    assert other.find(number) is not None

    assert one.close(number) is not None

    assert other.find(number) is other.close(number) is None


async def test_a_session_ends_once_and_by_the_use_that_any_process_knows(tmp_path: Path):
    now = [1_000_000.0]
    one, other = (Sessions(Shelf(tmp_path), lambda: now[0]) for _ in range(2))
    used, unused = one.open(a_visitor()), one.open(a_visitor("dr.doe"))
    now[0] += IDLE_SECONDS - 1
    assert other.find(used) is not None
    assert await other.take_ended() == []
    now[0] += 1

    ended = [*await one.take_ended(), *await other.take_ended()]
    assert [session.visitor.user.name_id for session in ended if session.visitor.user] == ["dr.doe"]
    assert one.find(unused) is None
    assert one.find(used) is not None

    now[0] = 1_000_000.0 + LONGEST_SECONDS
    assert one.find(used) is None


def test_of_one_user_the_oldest_session_of_all_processes_ends(tmp_path: Path):
    sessions = [Sessions(Shelf(tmp_path), lambda at=at: at) for at in range(MOST_OF_ONE_USER + 1)]
    numbers = [each.open(a_visitor()) for each in sessions]

    assert sessions[-1].find(numbers[0]) is None
    assert len(sessions[0]) == MOST_OF_ONE_USER


def test_of_processes_that_take_the_same_at_once_one_has_it(tmp_path: Path):
    numbers = [f"number-{at}" for at in range(40)]
    shelf = Shelf(tmp_path)
    for number in numbers:
        assert shelf.put("launch", number, b"<a/>", now=0, most=100)
    context = multiprocessing.get_context("forkserver")
    answers = context.SimpleQueue()
    processes = [context.Process(target=taken_by, args=(tmp_path, numbers, answers)) for _ in range(2)]
    for process in processes:
        process.start()
    with ThreadPoolExecutor(2) as threads:
        here = list(threads.map(lambda number: number if shelf.take("launch", number) else "", numbers))
    there = [number for _ in processes for number in answers.get()]
    for process in processes:
        process.join()

    assert sorted([*filter(None, here), *there]) == sorted(numbers)


def test_whoever_reads_the_file_finds_neither_numbers_nor_assertions_nor_names(tmp_path: Path):
    number = Sessions(Shelf(tmp_path)).open(a_visitor())
    octets = b"".join(path.read_bytes() for path in tmp_path.iterdir())

    for secret in (number.encode(), ASSERTION, b"dr.roe", b"idp.example"):
        assert secret not in octets
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_without_its_key_and_in_the_place_of_another_nothing_is_opened(tmp_path: Path):
    sessions = Sessions(Shelf(tmp_path))
    of_roe, of_doe = sessions.open(a_visitor()), sessions.open(a_visitor("dr.doe"))
    with closing(sqlite3.connect(tmp_path / FILE)) as file, file:
        ((one, first), (other, second)) = file.execute("SELECT key, content FROM kept").fetchall()
        for key, content in ((one, second), (other, first)):
            file.execute("UPDATE kept SET content = ? WHERE key = ?", (content, key))

    assert sessions.find(of_roe) is sessions.find(of_doe) is None

    number = sessions.open(a_visitor())
    (tmp_path / KEY).unlink()
    assert Sessions(Shelf(tmp_path)).find(number) is None


@pytest.mark.parametrize("octets", [b"no database" * 1000, b""])
def test_a_file_that_cannot_be_read_is_made_anew(tmp_path: Path, octets: bytes):
    shelf = Shelf(tmp_path)
    number = Sessions(shelf).open(a_visitor())
    shelf.close()
    (tmp_path / FILE).write_bytes(octets)

    sessions = Sessions(Shelf(tmp_path))

    assert sessions.find(number) is None
    assert sessions.find(sessions.open(a_visitor())) is not None


def test_what_another_release_kept_is_nobodys(tmp_path: Path):
    shelf = Shelf(tmp_path)
    shelf.put("session", "a number", b'{"visitor": 1}', now=0, most=1)

    assert Sessions(shelf).find("a number") is Sessions(shelf).close("a number") is None


def test_forms_and_links_of_a_page_are_good_at_every_process(tmp_path: Path):
    browser = Browser(number="n" * 43, is_new=False, over_tls=True, site="consumer")
    token, another = (Forms().token(each) for each in (browser, replace(browser, number="m" * 43)))
    handle = Handles(Shelf(tmp_path).key("handles")).seal(HandleKind.MANIFEST, "dr.roe", "P-1001")

    Forms().check(SentForm(browser=browser, fields=FormFields(token=token)))
    assert token != another
    assert Handles(Shelf(tmp_path).key("handles")).open(HandleKind.MANIFEST, "dr.roe", handle) == ("P-1001",)
