"""A closed queueing network of threads that share processors, simulated with a fixed seed.

Customers go round and round: each visits the threads of its way one after the other, with a time of work at
each; a thread serves one at a time, and all threads that work share the processors evenly, none with more
than one of them. Times of work are exponential about their means, so that queues are as uneven as real ones.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SEED = 20_260_504


@dataclass(frozen=True, slots=True)
class Visit:
    """Work of so many seconds on a processor, at one of `threads`: the one that has least to do.

    It takes `crowded_seconds` when it begins while more threads have work than there are processors: they
    take turns, and find less of theirs in the caches.
    """

    threads: tuple[str, ...]
    seconds: float
    crowded_seconds: float | None = None

    def mean(self, *, crowded: bool) -> float:
        """Seconds on the average."""
        return self.crowded_seconds if crowded and self.crowded_seconds is not None else self.seconds


@dataclass(slots=True)
class _Thread:
    queue: deque[int] = field(default_factory=deque)
    left: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """Rounds per second, and the share of the time for which each thread had work."""

    rate: float
    busy: Mapping[str, float]


def simulate(ways: Sequence[Sequence[Visit]], *, processors: float, rounds: int) -> Simulated:
    """Let one customer go each of `ways`, until so many rounds are done; the first tenth is not counted."""
    choice = random.Random(SEED)
    threads = {name: _Thread() for way in ways for visit in way for name in visit.threads}
    at = [0] * len(ways)
    now, began, done, counted = 0.0, 0.0, 0, 0
    busy = dict.fromkeys(threads, 0.0)

    def work_of(visit: Visit) -> float:
        working = sum(1 for thread in threads.values() if thread.queue)
        return choice.expovariate(1 / visit.mean(crowded=working > processors))

    def arrive(customer: int) -> None:
        visit = ways[customer][at[customer]]
        thread = threads[min(visit.threads, key=lambda name: len(threads[name].queue))]
        thread.queue.append(customer)
        if len(thread.queue) == 1:
            thread.left = work_of(visit)

    for customer in range(len(ways)):
        arrive(customer)
    while done < rounds:
        working = {name: thread for name, thread in threads.items() if thread.queue}
        speed = min(1.0, processors / len(working))
        first = min(working.values(), key=lambda thread: thread.left)
        step = first.left / speed
        now += step
        for name, thread in working.items():
            thread.left -= step * speed
            if counted:
                busy[name] += step
        customer = first.queue.popleft()
        if first.queue:
            following = first.queue[0]
            first.left = work_of(ways[following][at[following]])
        at[customer] = (at[customer] + 1) % len(ways[customer])
        if at[customer] == 0:
            done += 1
            if done == rounds // 10:
                began, counted = now, 1
        arrive(customer)
    span = now - began
    return Simulated(rate=(rounds - rounds // 10) / span, busy={name: of / span for name, of in busy.items()})
