"""Launch tickets: for one use, for minutes, and nobody else's, across restarts and processes."""

from __future__ import annotations

from pathlib import Path

from consumer.pages.tickets import TICKET_SECONDS, LaunchTickets
from shared.pages.shelf import Shelf


def test_a_ticket_is_used_once_and_within_its_time():
    now = [0.0]
    tickets = LaunchTickets(Shelf(), clock=lambda: now[0])
    first, second = (tickets.issue("dr.roe", b"<a/>", ("P-1001",)) for _ in range(2))

    launch = tickets.look(first)
    assert launch is not None
    assert (launch.name, launch.invocation) == ("dr.roe", ("P-1001",))
    assert tickets.take(first) == launch
    assert tickets.look(first) is tickets.take(first) is None

    now[0] = TICKET_SECONDS
    assert tickets.look(second) is tickets.take(second) is None


def test_a_ticket_of_another_service_and_one_that_was_changed_are_none():
    tickets = LaunchTickets(Shelf())
    ticket = tickets.issue("dr.roe", b"<a/>", ())

    assert LaunchTickets(Shelf()).look(ticket) is None
    assert tickets.look(ticket[:-4] + "AAAA") is None
    assert tickets.look("") is None


def test_a_ticket_outlives_a_restart_and_one_that_was_used_does_not(tmp_path: Path):
    before = LaunchTickets(Shelf(tmp_path))
    used, unused = (before.issue("dr.roe", b"<a/>", ()) for _ in range(2))
    assert before.take(used) is not None

    after = LaunchTickets(Shelf(tmp_path))

    assert after.look(used) is after.take(used) is None
    assert after.take(unused) is not None
    assert before.take(unused) is None


def test_what_was_not_used_in_time_makes_room(tmp_path: Path):
    now, shelf = [0.0], Shelf(tmp_path)
    tickets = LaunchTickets(shelf, clock=lambda: now[0])
    tickets.issue("dr.roe", b"<a/>", ())

    now[0] = TICKET_SECONDS
    tickets.issue("dr.roe", b"<a/>", ())

    assert shelf.count("launch") == 1
