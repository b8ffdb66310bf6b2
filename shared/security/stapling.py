"""OCSP responses that go along with a handshake (stapling; RFC 6066 8, RFC 8446 4.4.2.1).

Python's `ssl` knows OpenSSL's functions for it and shows none of them; they are called here by `ctypes`, on
the context that an `ssl.SSLContext` of CPython holds as its first field.
"""

from __future__ import annotations

import _ssl
import ctypes
import ssl
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from shared.settings import SettingsError

_TYPE: Final = 65  # SSL_CTRL_SET_TLSEXT_STATUS_REQ_TYPE
_RESPONSE: Final = 70  # SSL_CTRL_GET_TLSEXT_STATUS_REQ_OCSP_RESP
_OWN_RESPONSE: Final = 71  # SSL_CTRL_SET_TLSEXT_STATUS_REQ_OCSP_RESP
_CALLBACK: Final = 63  # SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB
_OCSP: Final = 1  # TLSEXT_STATUSTYPE_ocsp
_SENT, _NOTHING_SENT = 0, 3  # SSL_TLSEXT_ERR_OK, SSL_TLSEXT_ERR_NOACK
_ACCEPTED: Final = 1
_MAX_BYTES: Final = 64 * 1024

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

#: What came with the handshake that this thread is just making.
_arrived = threading.local()


class _OpenSsl:
    """The functions of the library that `ssl` itself uses."""

    def __init__(self) -> None:
        if sys.implementation.name != "cpython":
            raise OSError
        library = ctypes.CDLL(_ssl.__file__)

        def function(name: str, result: Any, *arguments: Any) -> Any:
            symbol = library[name]
            symbol.restype, symbol.argtypes = result, arguments
            return symbol

        place, number, command = ctypes.c_void_p, ctypes.c_long, ctypes.c_int
        self.options = function("SSL_CTX_get_options", ctypes.c_uint64, place)
        self.control_context = function("SSL_CTX_ctrl", number, place, command, number, place)
        self.call_back = function("SSL_CTX_callback_ctrl", number, place, command, _Callback)
        self.control = function("SSL_ctrl", number, place, command, number, place)
        self.allocate = function("CRYPTO_malloc", place, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_int)


@cache
def _openssl() -> _OpenSsl:
    try:
        return _OpenSsl()
    except (OSError, AttributeError):
        raise SettingsError(
            (
                "XDSI_TLS__OCSP_STAPLE: the OpenSSL of this Python cannot be reached for stapling; set it to "
                "false, or use a Python that is linked with the system's OpenSSL",
            )
        ) from None


def is_possible() -> bool:
    """Whether this Python can."""
    try:
        _openssl()
    except SettingsError:
        return False
    return True


def staple(context: ssl.SSLContext, response: Callable[[], bytes]) -> None:
    """Have a server's `context` send along what `response` gives, when a client asks for it; empty sends
    nothing. It is called in each such handshake and must not block.

    Raises
    ------
    SettingsError
        This Python cannot.
    """
    openssl = _openssl()

    def send(connection: int, _: int | None) -> int:
        if not (octets := response()):
            return _NOTHING_SENT
        place = openssl.allocate(len(octets), None, 0)
        ctypes.memmove(place, octets, len(octets))
        # The connection frees it.
        openssl.control(connection, _OWN_RESPONSE, len(octets), place)
        return _SENT

    _called_back(context, _Callback(send))


def ask_for_staple(context: ssl.SSLContext) -> None:
    """Have a client's `context` ask for responses; `arrived_staple` gives what came in a handshake.

    Raises
    ------
    SettingsError
        This Python cannot.
    """
    openssl = _openssl()
    openssl.control_context(_pointer(context), _TYPE, _OCSP, None)

    def receive(connection: int, _: int | None) -> int:
        place = ctypes.c_void_p()
        length = openssl.control(connection, _RESPONSE, 0, ctypes.byref(place))
        if 0 < length <= _MAX_BYTES and place.value:
            _arrived.octets = ctypes.string_at(place.value, length)
        return _ACCEPTED

    _called_back(context, _Callback(receive))


def arrived_staple() -> bytes:
    """What came since this thread asked last; empty when nothing did."""
    octets: bytes = getattr(_arrived, "octets", b"")
    _arrived.octets = b""
    return octets


def _called_back(context: ssl.SSLContext, callback: Any) -> None:
    _openssl().call_back(_pointer(context), _CALLBACK, callback)
    # OpenSSL keeps the address alone.
    context.staple_callback = callback  # type: ignore[attr-defined]


def _pointer(context: ssl.SSLContext) -> int:
    """OpenSSL's own context: the first field of the object."""
    place = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value
    if place is None or _openssl().options(place) != context.options & 0xFFFFFFFFFFFFFFFF:
        raise SettingsError(("XDSI_TLS__OCSP_STAPLE: this Python keeps its TLS contexts otherwise",))
    return place
