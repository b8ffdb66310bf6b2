"""Provide X-User Assertion (ITI-40), receiving side: the same probes for every actor with a SOAP endpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from conformance.corpus.assertions import attribute, coded
from conformance.envelopes import WSSE, Envelope
from conformance.plans import gateway, repository
from conformance.plans.assertions import (
    PLACE,
    AssertionText,
    Provider,
    Signing,
    signed,
    unsigned,
)
from conformance.plans.imaging_source import retrieve
from conformance.plans.message import Reply
from conformance.plans.probe import NotOffered, Plan, expect, expect_equal
from conformance.plans.registry import stored_query
from conformance.plans.soap import Door
from conformance.plans.stand import Stand
from conformance.plans.xua.wrapping import WAYS, wrapped

PLAN = Plan("xua")
_CONTENT, _WSS, _SAML = "ITI TF-2 3.40.4.1.2", "WS-Security 1.1.1 12", "SAML 2.0 Core 2.5.1"
_EXPIRED, _UNKNOWN, _BROKEN, _TOKEN, _HEADER, _ALGORITHM = (
    "InvalidSecurityToken",
    "FailedAuthentication",
    "FailedCheck",
    "UnsupportedSecurityToken",
    "InvalidSecurity",
    "UnsupportedAlgorithm",
)
_ANY = (_EXPIRED, _UNKNOWN, _BROKEN, _TOKEN, _HEADER, _ALGORITHM)
_WSU = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"

Ask = Callable[[Door, Stand], None]
Security = Callable[[AssertionText, Provider], str]


def provider(stand: Stand) -> Provider:
    """The assertion provider that the system believes; raises `NotOffered` when none was given."""
    if stand.target.provider is None:
        raise NotOffered("no assertion provider was given (--issuer, --issuer-key, --issuer-certificate)")
    return stand.target.provider


def good(stand: Stand, **changes: Any) -> AssertionText:
    """What an assertion says that is right."""
    ours = provider(stand)
    return AssertionText(**{"issuer": ours.issuer, "audience": ours.audience, **changes})


def asked_with(door: Door, stand: Stand, security: str, headers: str = "") -> Reply:
    """The door's request with this in its Security header."""
    return door.ask(stand, replace(door.envelope(stand), security=security, headers=headers))


def expect_refused(reply: Reply, *subcodes: str) -> None:
    """Raise `Unmet` unless it is a fault of WS-Security with one of `subcodes`, and tells nothing else."""
    reply.expect_fault("Sender", *subcodes)
    expect_equal(
        [str(one.tag).rpartition("}")[2] for one in reply.all("s:Body/*", reply.envelope)],
        ["Fault"],
        "the Body",
    )
    expect(not reply.parts, "parts come with the fault")
    expect(
        not reply.all("s:Body/s:Fault/s:Detail//*[local-name()='RegistryObjectList']", reply.envelope),
        "the fault tells of objects",
    )


# --- what is accepted ----------------------------------------------------------------------------------


def _accepted(door: Door, stand: Stand) -> None:
    reply = asked_with(door, stand, signed(good(stand), provider(stand)))
    expect(not reply.fault, f"a fault came: {reply.fault if reply.fault else ''} {reply.subcodes}")


def _accepted_twice(door: Door, stand: Stand) -> None:
    assertion = signed(good(stand), provider(stand))
    for _ in range(2):
        reply = asked_with(door, stand, assertion)
        expect(not reply.fault, f"a fault came: {reply.subcodes}")


def _accepted_so(**changes: Any) -> Ask:
    def ask(door: Door, stand: Stand) -> None:
        reply = asked_with(door, stand, signed(good(stand, **changes), provider(stand)))
        expect(not reply.fault, f"a fault came: {reply.subcodes}")

    return ask


# --- what is refused -----------------------------------------------------------------------------------


def _refused_so(*subcodes: str, signing: Signing | None = None, **changes: Any) -> Ask:
    """An assertion that its provider signed, and that says something else than it should."""

    def ask(door: Door, stand: Stand) -> None:
        assertion = signed(good(stand, **changes), provider(stand), signing)
        expect_refused(asked_with(door, stand, assertion), *subcodes)

    return ask


def _refused_as(security: Security, *subcodes: str) -> Ask:
    def ask(door: Door, stand: Stand) -> None:
        expect_refused(asked_with(door, stand, security(good(stand), provider(stand))), *subcodes)

    return ask


def _absent(door: Door, stand: Stand) -> None:
    envelope: Envelope = door.envelope(stand)
    expect(not stand.target.assertion, "an assertion is sent with everything (--assertion)")
    expect_refused(door.ask(stand, envelope), _HEADER)


def _wrapped(way: str) -> Ask:
    def ask(door: Door, stand: Stand) -> None:
        message = wrapped(way, good(stand), provider(stand))
        expect_refused(asked_with(door, stand, message.security, message.headers), *_ANY)

    return ask


def _used_again(door: Door, stand: Stand) -> None:
    assertion = signed(good(stand, conditions="<s:OneTimeUse/>"), provider(stand))
    first = asked_with(door, stand, assertion)
    expect(not first.fault, f"its first use is refused: {first.subcodes}")
    expect_refused(asked_with(door, stand, assertion), _EXPIRED)


def _by_an_impostor(text: AssertionText, ours: Provider) -> str:
    return signed(text, ours.impostor())


def _changed(old: str, new: str) -> Security:
    return lambda text, ours: signed(text, ours).replace(old, new, 1)


def _signature_lost(text: AssertionText, ours: Provider) -> str:
    return unsigned(text)


def _two(text: AssertionText, ours: Provider) -> str:
    return signed(text, ours) + signed(replace(text, id="_second"), ours)


def _user_name(text: AssertionText, ours: Provider) -> str:
    return f'<w:UsernameToken xmlns:w="{WSSE}"><w:Username>ann</w:Username></w:UsernameToken>'


def _stale_header(text: AssertionText, ours: Provider) -> str:
    timestamp = (
        f'<u:Timestamp xmlns:u="{_WSU}"><u:Created>2020-01-01T00:00:00Z</u:Created>'
        "<u:Expires>2020-01-01T00:05:00Z</u:Expires></u:Timestamp>"
    )
    return timestamp + signed(text, ours)


def _second_header(door: Door, stand: Stand) -> None:
    security = signed(good(stand), provider(stand))
    second = f'<w:Security xmlns:w="{WSSE}">{signed(good(stand), provider(stand))}</w:Security>'
    expect_refused(asked_with(door, stand, security, second), _HEADER)


def _empty_header(door: Door, stand: Stand) -> None:
    provider(stand)
    expect_refused(asked_with(door, stand, " "), _HEADER)


_ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
_XPATH = "http://www.w3.org/TR/1999/REC-xpath-19991116"


def _lacks(piece_start: str, piece_end: str) -> Callable[[str], str]:
    """The assertion without the piece between these."""

    def edit(text: str) -> str:
        start, end = text.index(piece_start), text.index(piece_end) + len(piece_end)
        return text[:start] + text[end:]

    return edit


#: Clause, what is right, the function, and the option that it belongs to. A place in the table is a number for
#: ever.
_TABLE: tuple[tuple[str, str, Ask, str], ...] = (
    (_CONTENT, "an assertion of a believed provider is accepted", _accepted, ""),
    (_CONTENT, "an assertion may be used for several messages while it is valid", _accepted_twice, ""),
    ("SAML 2.0 Core 2.5.1.4", "an assertion may name its audience among others", _accepted_so(edit=lambda text: text.replace("<s:Audience>", "<s:Audience>urn:probe:other</s:Audience><s:Audience>", 1)), ""),
    (_CONTENT, "a message without assertion is refused with InvalidSecurity", _absent, "User Required"),
    (_WSS, "a Security header without token is refused with InvalidSecurity", _empty_header, ""),
    (_WSS, "two Security headers are refused with InvalidSecurity", _second_header, ""),
    (_WSS, "two assertions are refused with InvalidSecurity", _refused_as(_two, _HEADER), ""),
    (_WSS, "a token that is no assertion is refused with UnsupportedSecurityToken", _refused_as(_user_name, _TOKEN), ""),
    (_WSS, "a header whose Timestamp is over is refused with MessageExpired", _refused_as(_stale_header, "MessageExpired"), ""),
    (_CONTENT, "an assertion without signature is refused with FailedCheck", _refused_as(_signature_lost, _BROKEN), ""),
    (_CONTENT, "an assertion in which another user was written is refused with FailedCheck", _refused_as(_changed("ann.roe", "evil.admin"), _BROKEN), ""),
    (_CONTENT, "an assertion whose end was moved is refused with FailedCheck", _refused_as(lambda text, ours: signed(replace(text, ends=-3600.0, begins=-7200.0), ours).replace('NotOnOrAfter="2', 'NotOnOrAfter="9', 1), _BROKEN, _EXPIRED), ""),
    (_CONTENT, "an assertion by another key, which its KeyInfo brings along, is refused", _refused_as(_by_an_impostor, _BROKEN, _UNKNOWN), ""),
    (_CONTENT, "an assertion of a provider whom nobody knows is refused with FailedAuthentication", _refused_so(_UNKNOWN, issuer="urn:probe:nobody"), ""),
    (_SAML, "an assertion that is over is refused with InvalidSecurityToken", _refused_so(_EXPIRED, begins=-7200.0, ends=-3600.0), ""),
    (_SAML, "an assertion that is not valid yet is refused with InvalidSecurityToken", _refused_so(_EXPIRED, begins=3600.0, ends=3900.0), ""),
    (_SAML, "an assertion without end is refused with InvalidSecurityToken", _refused_so(_EXPIRED, ends=None), ""),
    (_SAML, "an assertion whose end is before its beginning is refused", _refused_so(_EXPIRED, begins=60.0, ends=-3600.0), ""),
    ("SAML 2.0 Core 2.5.1.4", "an assertion for another audience is refused with InvalidSecurityToken", _refused_so(_EXPIRED, audience="urn:oid:2.999.404"), ""),
    ("SAML 2.0 Core 2.5.1.4", "an assertion for no audience is refused with InvalidSecurityToken", _refused_so(_EXPIRED, audience=""), ""),
    ("SAML 2.0 Core 2.5.1.4", "of several AudienceRestrictions each must be met", _refused_so(_EXPIRED, conditions="<s:AudienceRestriction><s:Audience>urn:oid:2.999.404</s:Audience></s:AudienceRestriction>"), ""),
    ("SAML 2.0 Core 2.4.1.2", "an assertion for another recipient is refused with InvalidSecurityToken", _refused_so(_EXPIRED, confirmation='<s:SubjectConfirmationData Recipient="https://other.example.org/"/>'), ""),
    ("SAML 2.0 Core 2.4.1.2", "an assertion whose confirmation is over is refused with InvalidSecurityToken", _refused_so(_EXPIRED, confirmation='<s:SubjectConfirmationData NotOnOrAfter="2020-01-01T00:00:00Z"/>'), ""),
    ("SAML 2.0 Core 2.5.1.5", "a second use of an assertion for one use is refused with InvalidSecurityToken", _used_again, ""),
    (_CONTENT, "an assertion that somebody else vouches for is refused with UnsupportedSecurityToken", _refused_so(_TOKEN, method="urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"), ""),
    (_CONTENT, "an assertion of another version than 2.0 is refused with UnsupportedSecurityToken", _refused_so(_TOKEN, _EXPIRED, version="1.1"), ""),
    (_CONTENT, "an assertion without subject is refused with InvalidSecurityToken", _refused_so(_EXPIRED, _TOKEN, edit=_lacks("<s:Subject>", "</s:Subject>")), ""),
    (_CONTENT, "an assertion without AuthnStatement is refused with InvalidSecurityToken", _refused_so(_EXPIRED, edit=_lacks("<s:AuthnStatement", "</s:AuthnStatement>")), ""),
    ("XML Signature 1.1 6.3.1", "a MAC with the public key as its secret is refused with UnsupportedAlgorithm", _refused_so(_ALGORITHM, signing=Signing(algorithm="hmac")), ""),
    ("NIST SP 800-131A 3", "a signature with SHA-1 is refused with UnsupportedAlgorithm", _refused_so(_ALGORITHM, signing=Signing(digest="sha1")), ""),
    ("SAML 2.0 Core 5.4.4", "a transform of XSLT is refused", _refused_so(_ALGORITHM, _BROKEN, signing=Signing(transforms=("http://www.w3.org/TR/1999/REC-xslt-19991116", _EXCLUSIVE))), ""),
    ("SAML 2.0 Core 5.4.4", "a transform of XPath is refused", _refused_so(_ALGORITHM, _BROKEN, signing=Signing(transforms=(_ENVELOPED, _XPATH, _EXCLUSIVE))), ""),
    ("SAML 2.0 Core 5.4.2", "a signature that refers to something else is refused with FailedCheck", _refused_so(_BROKEN, signing=Signing(reference="body")), ""),
    ("SAML 2.0 Core 5.4.2", "a signature that refers to the whole document is refused with FailedCheck", _refused_as(lambda text, ours: signed(text, ours).replace(f'URI="#{text.id}"', 'URI=""', 1), _BROKEN), ""),
    ("SAML 2.0 Core 1.3.1", "a name with a comment in it is not cut short: it is refused", _refused_as(lambda text, ours: signed(replace(text, name_id="ann.roe.evil"), ours).replace("ann.roe.evil", "ann.roe<!-- -->.evil", 1), *_ANY), ""),
    ("SAML 2.0 Core 1.3.1", "an audience with a comment in it is not cut short: it is refused", _refused_as(lambda text, ours: signed(replace(text, audience=f"{ours.audience}.evil"), ours).replace(f"{ours.audience}.evil", f"{ours.audience}<!-- -->.evil", 1), *_ANY), ""),
    (_CONTENT, "an assertion of a megabyte is refused", _refused_so(*_ANY, edit=lambda text: text.replace(PLACE, PLACE + " " * 1024**2)), ""),
    *(
        ("SAML 2.0 Core 5.4.2", f"an unsigned assertion {way} is refused", _wrapped(way), "")
        for way in WAYS
    ),
)  # fmt: skip


_ROLE, _PURPOSE, _RESOURCE = (
    "urn:oasis:names:tc:xacml:2.0:subject:role",
    "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse",
    "urn:oasis:names:tc:xacml:2.0:resource:resource-id",
)
_SPID = "2.16.756.5.30.1.127.3.10.3"


def _swiss(role: str = "HCP", purpose: str = "NORM", authority: str = _SPID) -> str:
    """What an assertion says of a Swiss health professional about a patient."""
    return (
        attribute(_ROLE, coded("Role", role, "2.16.756.5.30.1.127.3.10.6"))
        + attribute(_PURPOSE, coded("PurposeOfUse", purpose, "2.16.756.5.30.1.127.3.10.5"))
        + (attribute(_RESOURCE, f"761337610411353650^^^&amp;{authority}&amp;ISO") if authority else "")
    )


#: Of the Swiss patient record (CH:XUA), in the same way.
_SWISS: tuple[tuple[str, str, Ask, str], ...] = (
    ("CH:XUA 1.6.4.3.4.2", "an assertion of a health professional about a patient is accepted", _accepted_so(attributes=_swiss()), ""),
    ("CH:XUA 1.6.4.3.4.2", "a role that the value set has not is refused", _refused_so(*_ANY, attributes=_swiss(role="DOCTOR")), ""),
    ("CH:XUA 1.6.4.3.4.2", "a purpose of use that the value set has not is refused", _refused_so(*_ANY, attributes=_swiss(purpose="TREAT")), ""),
    ("CH:XUA 1.6.4.3.4.2", "an assertion about a patient without EPR-SPID is refused", _refused_so(*_ANY, attributes=_swiss(authority="1.2.3.9")), ""),
    ("CH:XUA 1.6.4.3.4.2", "an assertion about no patient is refused", _refused_so(*_ANY, attributes=_swiss(authority="")), ""),
)  # fmt: skip


def state(prefix: str, door: Door) -> None:
    """Add the probes of `door`, under ids that begin with XUA and `prefix`."""
    for first, table, pack in ((1, _TABLE, ""), (201, _SWISS, "swiss")):
        for number, (clause, purpose, ask, option) in enumerate(table, first):
            PLAN.add(
                f"XUA-{prefix}-{number:02}",
                clause,
                purpose,
                partial(ask, door),
                option=option,
                needs=(door.actor,),
                pack=pack,
            )


for _prefix, _door in (
    ("REG", stored_query.DOOR),
    ("REP", repository.DOOR),
    ("SRC", retrieve.DOOR),
    ("XCA", gateway.DOOR),
):
    state(_prefix, _door)
