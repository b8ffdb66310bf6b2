"""Launch tickets: for one use, for minutes, and nobody else's."""

from __future__ import annotations

from consumer.pages.tickets import TICKET_SECONDS, LaunchTickets
from shared.pages.handles import Handles


def test_a_ticket_is_used_once_and_within_its_time():
    now = [0.0]
    tickets = LaunchTickets(Handles(), clock=lambda: now[0])
    first, second = (tickets.issue("dr.roe", b"<a/>", ("P-1001",)) for _ in range(2))

    launch = tickets.look(first)
    assert launch is not None
    assert (launch.name, launch.invocation) == ("dr.roe", ("P-1001",))
    assert tickets.take(first) == launch
    assert tickets.look(first) is tickets.take(first) is None

    now[0] = TICKET_SECONDS
    assert tickets.look(second) is tickets.take(second) is None


def test_a_ticket_of_another_process_and_one_that_was_changed_are_none():
    tickets = LaunchTickets(Handles())
    ticket = tickets.issue("dr.roe", b"<a/>", ())

    assert LaunchTickets(Handles()).look(ticket) is None
    assert tickets.look(ticket[:-4] + "AAAA") is None
    assert tickets.look("") is None
