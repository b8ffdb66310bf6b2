"""Who is calling: the node that TLS proved and the user that an assertion proves (ITI-19, ITI-40)."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_address

from cryptography import x509
from lxml import etree

from shared.faults import SecurityFault
from shared.security.caller import Caller, Node, User
from shared.security.peer_certificate import fingerprint_of
from shared.security.xua import MAX_BYTES, AssertionVerifier, assertion_of, check_timestamp
from shared.settings import ServiceSettings, SettingsError, XuaMode, is_loopback
from shared.xml import Element, XmlError, parse

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_AFTER_COMMA = re.compile(r"(?<!\\),\s+")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class Authenticator:
    """Turns what came with a request into its `Caller`, under one service's settings.

    A node belongs to the community when it shows the very certificate of this service, when `community_nodes`
    names its subject DN (RFC 4514) or the hexadecimal SHA-256 of its certificate, or when it calls from this
    machine while no TLS is set up. With several trusted authorities a fingerprint is safer than a DN: any of
    them can write any DN.

    With `passes_on` a caller keeps the assertion, so that it can be sent on unchanged.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        passes_on: bool = False,
    ) -> None:
        self._mode = settings.xua_mode
        self._tls = settings.tls.enabled
        self._clock = clock
        self._passes_on = passes_on
        self._verifier = AssertionVerifier(settings.assertion, settings.audience)
        self._community = NodeList(settings.community_nodes, "XDSI_COMMUNITY_NODES", own=_own(settings))

    def caller(
        self,
        node: Node,
        *,
        endpoint: str,
        security_header: Element | None = None,
        bearer: str | None = None,
        speaker_is_user: bool,
        reply_to: str = "",
        message_id: str = "",
    ) -> Caller:
        """The caller of one request.

        Parameters
        ----------
        endpoint
            The URI that was called, without query.
        security_header
            The `wsse:Security` header addressed to us, in its message.
        bearer
            What follows `Bearer` in the Authorization header of a REST request: a SAML assertion, base64url
            without padding (ITI-72, SAML Token option).
        speaker_is_user
            Whether the transaction needs a user when assertions are required.

        Raises
        ------
        SecurityFault
            The node is not authenticated, the assertion is absent though required, or it is not accepted.
        """
        self._check(node)
        user, octets = self._user(endpoint, security_header, bearer)
        if user is None and speaker_is_user and self._mode is XuaMode.REQUIRED:
            raise SecurityFault("InvalidSecurity", "this transaction needs a user assertion")
        return Caller(
            node=node,
            endpoint=endpoint,
            user=user,
            reply_to=reply_to,
            community_node=self._of_the_community(node),
            message_id=message_id,
            assertion=octets,
        )

    def _check(self, node: Node) -> None:
        if self._tls and not (node.subject or node.fingerprint):
            raise SecurityFault("FailedAuthentication", "the node showed no certificate")
        if self._mode is XuaMode.OFF and not _loopback(node.address):
            raise SecurityFault("FailedAuthentication", "assertions are off, which is for this machine alone")

    def _of_the_community(self, node: Node) -> bool:
        if not self._tls:
            return _loopback(node.address)
        return node in self._community

    def _user(
        self, endpoint: str, security_header: Element | None, bearer: str | None
    ) -> tuple[User | None, bytes]:
        if self._mode is XuaMode.OFF or (security_header is None and bearer is None):
            return None, b""
        now = self._clock()
        assertion = self._assertion(security_header, bearer, now)
        user = self._verifier.verify(assertion, now, endpoint=endpoint)
        return user, etree.tostring(assertion, with_tail=False) if self._passes_on else b""

    def _assertion(self, security_header: Element | None, bearer: str | None, now: datetime) -> Element:
        if security_header is None:
            return assertion_of_bearer(bearer or "")
        if bearer is not None:
            raise SecurityFault(
                "InvalidSecurity", "a request carries a Security header or a bearer token, not both"
            )
        assertion = assertion_of(security_header)
        check_timestamp(security_header, now, self._verifier.skew)
        return assertion


def assertion_of_bearer(token: str) -> Element:
    """The assertion in a bearer token (IUA, SAML Token option): base64url without padding.

    Raises
    ------
    SecurityFault
        InvalidSecurity: not readable; UnsupportedSecurityToken: a token of another kind, for example a JWT.
    """
    if len(token) > MAX_BYTES * 4 // 3 + 4:
        raise SecurityFault("InvalidSecurityToken", f"the assertion is larger than {MAX_BYTES} bytes")
    if token.count(".") == 2:
        raise SecurityFault(
            "UnsupportedSecurityToken", "JSON web tokens are not accepted; send a SAML assertion"
        )
    if not _BASE64URL.fullmatch(token) or len(token) % 4 == 1:
        raise SecurityFault("InvalidSecurity", "the bearer token is not base64url without padding")
    try:
        return parse(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except XmlError as error:
        raise SecurityFault("InvalidSecurity", str(error)) from None


def _loopback(address: str) -> bool:
    if is_loopback(address):
        return True
    try:
        found = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


class NodeList:
    """Nodes by their subject DN (RFC 4514) or the hexadecimal SHA-256 of their certificate.

    Raises
    ------
    SettingsError
        An entry is neither; `setting` is where it was given.
    """

    def __init__(self, entries: Iterable[str], setting: str, *, own: Iterable[str] = ()) -> None:
        given = [entry.strip() for entry in entries]
        self._fingerprints = {entry.lower() for entry in given if _is_fingerprint(entry)} | set(own)
        self._subjects = {_dn(entry, setting) for entry in given if not _is_fingerprint(entry)}

    def __contains__(self, node: Node) -> bool:
        return node.subject in self._subjects or node.fingerprint in self._fingerprints


def _is_fingerprint(entry: str) -> bool:
    return _FINGERPRINT.fullmatch(entry.lower()) is not None


def _own(settings: ServiceSettings) -> Iterator[str]:
    if settings.tls.certificate is None:
        return
    try:
        yield fingerprint_of(settings.tls.certificate)
    except (OSError, ValueError):
        raise SettingsError(
            (f"XDSI_TLS__CERTIFICATE: {settings.tls.certificate} holds no readable PEM certificate",)
        ) from None


def _dn(entry: str, setting: str) -> str:
    """The DN as certificates are compared by it; `CN=a, O=b` is as good as `CN=a,O=b`."""
    try:
        name = x509.Name.from_rfc4514_string(_AFTER_COMMA.sub(",", entry))
    except ValueError:
        raise SettingsError(
            (
                f"{setting}: {entry!r} is neither a DN (RFC 4514, for example CN=a,O=b) nor the "
                "hexadecimal SHA-256 of a certificate",
            )
        ) from None
    if not name.rdns:
        raise SettingsError((f"{setting}: an entry is empty; name a DN or a fingerprint",))
    return name.rfc4514_string()
