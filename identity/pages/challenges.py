"""Challenges that a passkey signs: one for each browser, for minutes and one answer."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from shared.pages.browser import Browser

SECONDS: Final = 600.0
MOST: Final = 10_000


class Challenges:
    """The challenges of this process; `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._given: OrderedDict[bytes, tuple[float, str]] = OrderedDict()

    def give(self, browser: Browser) -> str:
        """A new challenge for a browser, in place of the one before."""
        key = _key(browser)
        self._given.pop(key, None)
        while len(self._given) >= MOST:
            self._given.popitem(last=False)
        challenge = secrets.token_urlsafe(32)
        self._given[key] = (self._clock(), challenge)
        return challenge

    def take(self, browser: Browser) -> str:
        """The challenge of a browser, for the last time; where it has none, one that nobody signed."""
        began, challenge = self._given.pop(_key(browser), (float("-inf"), ""))
        return challenge if self._clock() - began < SECONDS else secrets.token_urlsafe(32)


def _key(browser: Browser) -> bytes:
    return sha256(browser.number.encode()).digest()
