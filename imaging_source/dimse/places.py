"""The places of a listener: how many connections there may be, in all and of one peer, and which of them
gives its place up.

A connection has its place from its accept on. One that has asked for no association after a moment gives it
to the next one of its peer: whoever says nothing keeps nobody out who shares its address.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Final

from shared.http.proxied import Entrance

#: After so long a connection that has said nothing may be ended for another one.
SILENT_SECONDS: Final = 2.0


class ConnectionPlace:
    """The place of one connection; any thread may leave it, and it is left once."""

    def __init__(self, entrance: Entrance, address: str, connection: socket.socket) -> None:
        self.address = address
        self.since = time.monotonic()
        self._entrance = entrance
        # The socket itself is no more when the connection was taken into TLS.
        self._connection: socket.socket | None = connection.dup()
        self._guard = threading.Lock()

    def leave(self, *, end: bool = False) -> None:
        """Leave the place; `end` ends the connection as well."""
        if self.close(end=end):
            self._entrance.leave(self.address)

    def close(self, *, end: bool = False) -> bool:
        """Let go of the connection, which counts no more; whether that was not done before."""
        with self._guard:
            connection, self._connection = self._connection, None
        if connection is None:
            return False
        if end:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        connection.close()
        return True


class Places:
    """Gives connections their places."""

    def __init__(self, entrance: Entrance) -> None:
        self.entrance = entrance
        self._silent: dict[ConnectionPlace, None] = {}
        self._guard = threading.Lock()

    def take(self, address: str, connection: socket.socket) -> ConnectionPlace | None:
        """A place for a connection of a peer; None when there is none."""
        if not self.entrance.admit(address):
            silent = self._longest_silent(address)
            if silent is None:
                return None
            silent.leave(end=True)
            if not self.entrance.admit(address):
                return None
        return ConnectionPlace(self.entrance, address, connection)

    def settle(self, place: ConnectionPlace, address: str) -> None:
        """It is known for whom the connection counts: the peer, or the client that a proxy named."""
        place.address = address
        with self._guard:
            self._silent[place] = None

    def heard(self, place: ConnectionPlace) -> None:
        """Its peer has asked for an association."""
        with self._guard:
            self._silent.pop(place, None)

    def leave(self, place: ConnectionPlace) -> None:
        """The connection has ended."""
        self.heard(place)
        place.leave()

    def _longest_silent(self, address: str) -> ConnectionPlace | None:
        until = time.monotonic() - SILENT_SECONDS
        with self._guard:
            for place in self._silent:
                if place.since > until:
                    return None
                if place.address == address:
                    del self._silent[place]
                    return place
        return None
