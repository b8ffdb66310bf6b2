"""Signature wrapping in eight ways: a signed assertion stays in the message, and another one stands where the
user is read (Somorovsky et al., On Breaking SAML, 2012)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from conformance.plans.assertions import DS, AssertionText, Provider, signed, unsigned

_SIGNATURE: Final = re.compile(r"<ds:Signature .*?</ds:Signature>", re.DOTALL)
_OTHER: Final = "urn:probe:wrapping"


@dataclass(frozen=True, slots=True)
class WrappedMessage:
    """What stands in the Security header, and among the headers beside it."""

    security: str
    headers: str = ""


def _pieces(text: AssertionText, provider: Provider) -> tuple[str, str, str]:
    """The good assertion, its signature, and the evil one, unsigned."""
    good = signed(text, provider)
    match = _SIGNATURE.search(good)
    assert match is not None
    return good, match[0], unsigned(replace(text, id="_evil", name_id="evil.admin"))


def _within(outer: str, inner: str) -> str:
    """`inner` as the last child of the assertion `outer`."""
    return outer.replace("</s:Assertion>", f"{inner}</s:Assertion>", 1)


def _after_issuer(assertion: str, signature: str) -> str:
    return assertion.replace("</s:Issuer>", f"</s:Issuer>{signature}", 1)


def _wrapper(inner: str) -> str:
    return f'<p:Wrapper xmlns:p="{_OTHER}">{inner}</p:Wrapper>'


def _evil_before(good: str, signature: str, evil: str) -> WrappedMessage:
    return WrappedMessage(evil + good)


def _evil_after(good: str, signature: str, evil: str) -> WrappedMessage:
    return WrappedMessage(good + evil)


def _good_in_evil(good: str, signature: str, evil: str) -> WrappedMessage:
    return WrappedMessage(_within(evil, good))


def _signature_moved(good: str, signature: str, evil: str) -> WrappedMessage:
    return WrappedMessage(_after_issuer(evil, signature) + good.replace(signature, ""))


def _good_in_object(good: str, signature: str, evil: str) -> WrappedMessage:
    inside = f'<ds:Object xmlns:ds="{DS}">{good.replace(signature, "")}</ds:Object>'
    around = signature.replace("</ds:Signature>", f"{inside}</ds:Signature>")
    return WrappedMessage(_after_issuer(evil, around))


def _good_in_wrapper(good: str, signature: str, evil: str) -> WrappedMessage:
    return WrappedMessage(_after_issuer(evil, signature) + _wrapper(good.replace(signature, "")))


def _same_id(good: str, signature: str, evil: str) -> WrappedMessage:
    id = re.search(r' ID="([^"]*)"', good)
    assert id is not None
    same = evil.replace('ID="_evil"', f'ID="{id[1]}"')
    return WrappedMessage(_after_issuer(same, signature), headers=_wrapper(good.replace(signature, "")))


def _good_in_other_header(good: str, signature: str, evil: str) -> WrappedMessage:
    return WrappedMessage(_after_issuer(evil, signature), headers=_wrapper(good.replace(signature, "")))


_WAYS: Final[Mapping[str, Callable[[str, str, str], WrappedMessage]]] = {
    "before the signed one": _evil_before,
    "after the signed one": _evil_after,
    "around the signed one": _good_in_evil,
    "with the signature of one beside it": _signature_moved,
    "with the signed one in its signature's Object": _good_in_object,
    "with the signed one wrapped beside it": _good_in_wrapper,
    "with the ID of the signed one": _same_id,
    "with the signed one in another header": _good_in_other_header,
}
WAYS: Final = tuple(_WAYS)


def wrapped(way: str, text: AssertionText, provider: Provider) -> WrappedMessage:
    """A message with an assertion that nobody signed, in one of `WAYS`."""
    return _WAYS[way](*_pieces(text, provider))
