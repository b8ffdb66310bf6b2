"""What an assertion says (SAML 2.0 core 2; ITI TF-2 3.40.4.1.2), read from verified octets.

Values are collected across statements and attributes of the same name; a mandatory part that is absent or
malformed is InvalidSecurityToken.

What is read beside the form of ITI TF-2 3.40, each in one place: `xsi:type` is not looked at, senders spell
it in every way; `PurposeForUse` and the home community of the United States (`_PURPOSES`, `_OTHER_NAMES`);
the structure of a French VIHF (`_OTHER_NAMES`) and the type of its patient's id (`_patient`); a role or
purpose as plain text (`_plain`); the delegate of a Swiss assistant (`_conditions`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.ebrim.identifiers import is_cx
from shared.ebrim.model import Code
from shared.faults import SecurityFault
from shared.security.caller import User
from shared.xml import NS, Element, elements, qname, text

BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"

SUBJECT_ID = "urn:oasis:names:tc:xspa:1.0:subject:subject-id"
ORGANIZATION = "urn:oasis:names:tc:xspa:1.0:subject:organization"
ORGANIZATION_ID = "urn:oasis:names:tc:xspa:1.0:subject:organization-id"
HOME_COMMUNITY_ID = "urn:ihe:iti:xca:2010:homeCommunityId"
ROLE = "urn:oasis:names:tc:xacml:2.0:subject:role"
PURPOSE_OF_USE = "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse"
RESOURCE_ID = "urn:oasis:names:tc:xacml:2.0:resource:resource-id"
#: What may be asked of an assertion.
_CLAIMED = (ROLE, PURPOSE_OF_USE, ORGANIZATION_ID, RESOURCE_ID)

#: Other names of attributes, read where the own one has no value.
_OTHER_NAMES = {
    HOME_COMMUNITY_ID: "urn:nhin:names:saml:homeCommunityId",
    ORGANIZATION_ID: "Identifiant_Structure",
}

_ROLES = (qname("hl7:Role"),)
# Senders of the older United States profiles write PurposeForUse.
_PURPOSES = (qname("hl7:PurposeOfUse"), qname("hl7:PurposeForUse"))

#: Conditions that are looked at, or bind somebody else than who relies on an assertion (SAML 2.0 core 2.5.1).
_CONDITIONS = frozenset(map(qname, ("saml:AudienceRestriction", "saml:OneTimeUse", "saml:ProxyRestriction")))
#: It says who acts for the subject, and asks nothing of who relies on it.
_DELEGATE = "{urn:oasis:names:tc:SAML:2.0:conditions:delegation}Delegate"

_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A half-open span of time; None is open."""

    not_before: datetime | None = None
    not_on_or_after: datetime | None = None

    def contains(self, now: datetime, skew: timedelta) -> bool:
        """Whether `now` lies within, clocks differing by at most `skew`."""
        after = self.not_before is None or self.not_before <= now + skew
        return after and (self.not_on_or_after is None or self.not_on_or_after > now - skew)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """One bearer confirmation: when and by whom the assertion may be taken; no recipient is anybody."""

    window: Window
    recipient: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedAssertion:
    """An assertion whose signature holds: its user, and everything that must be compared on each use.

    `audiences` are alternatives within one restriction; every restriction must be met.
    """

    user: User
    window: Window
    audiences: tuple[frozenset[str], ...]
    confirmations: tuple[Confirmation, ...]
    one_time_use: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What somebody asks an assertion to say; what is empty is left to who issues it."""

    organization_ids: tuple[str, ...] = ()
    roles: tuple[Code, ...] = ()
    purposes: tuple[Code, ...] = ()
    resource_ids: tuple[str, ...] = ()


def read(root: Element) -> VerifiedAssertion:
    """Read the verified assertion `root`.

    Raises
    ------
    SecurityFault
        InvalidSecurityToken: a mandatory part is absent or malformed.
    """
    conditions = _conditions(root)
    _authentication(root)
    return VerifiedAssertion(
        user=_user(root),
        window=Window(
            not_before=_instant(conditions, "NotBefore"),
            not_on_or_after=_instant(conditions, "NotOnOrAfter"),
        ),
        audiences=_audiences(conditions),
        confirmations=_confirmations(root),
        one_time_use=conditions.find("saml:OneTimeUse", NS) is not None,
    )


def read_claims(attributes: Iterable[Element]) -> Claims:
    """What is asked to be said of somebody, as attributes of SAML.

    Raises
    ------
    SecurityFault
        InvalidSecurityToken: one is malformed, or of a name that is not understood.
    """
    collected: dict[str, list[Element]] = {}
    for attribute in attributes:
        if attribute.tag != qname("saml:Attribute") or attribute.get("Name") not in _CLAIMED:
            raise _invalid(f"what may be asked for are the attributes {', '.join(_CLAIMED)}")
        values = attribute.findall("saml:AttributeValue", NS)
        collected.setdefault(attribute.get("Name", ""), []).extend(values)
    return Claims(
        organization_ids=_texts(collected, ORGANIZATION_ID),
        roles=tuple(_codes(collected.get(ROLE, ()), _ROLES, "")),
        purposes=tuple(_codes(collected.get(PURPOSE_OF_USE, ()), _PURPOSES, "")),
        resource_ids=tuple(map(_patient, _texts(collected, RESOURCE_ID))),
    )


def _conditions(root: Element) -> Element:
    conditions = _one(root, "saml:Conditions")
    for condition in elements(conditions):
        delegates = [child.tag == _DELEGATE for child in elements(condition)]
        if condition.tag not in _CONDITIONS and not (delegates and all(delegates)):
            raise _invalid("a condition that is not understood; nothing is taken under it")
    return conditions


def confirmation_methods(root: Element) -> frozenset[str]:
    """The methods of all subject confirmations."""
    return frozenset(
        each.get("Method", "") for each in root.iterfind("saml:Subject/saml:SubjectConfirmation", NS)
    )


def claimed_name(root: Element) -> str:
    """`alias<user@issuer>` as claimed, unverified and cut short: for the record of a refusal alone."""
    name_id = root.find("saml:Subject/saml:NameID", NS)
    issuer = root.find("saml:Issuer", NS)
    alias = "" if name_id is None else name_id.get("SPProvidedID", "")
    user = "" if name_id is None else text(name_id)
    return f"{alias[:64]}<{user[:128]}@{'' if issuer is None else text(issuer)[:128]}>"


def issuer_of(root: Element) -> str:
    """The text of Issuer, or InvalidSecurityToken."""
    return _text(_one(root, "saml:Issuer"))


def _invalid(detail: str) -> SecurityFault:
    return SecurityFault("InvalidSecurityToken", detail)


def _one(element: Element, path: str) -> Element:
    elements = element.findall(path, NS)
    if len(elements) != 1:
        raise _invalid(f"exactly one {path} is needed, {len(elements)} found")
    return elements[0]


def _text(element: Element) -> str:
    value = text(element)
    if not value or any(True for _ in elements(element)):
        raise _invalid("an element that holds text is empty or holds elements")
    return value


def _instant(element: Element, name: str) -> datetime:
    return parse_instant(element.get(name, ""), name)


def parse_instant(value: str, name: str) -> datetime:
    """An xs:dateTime with its zone, or InvalidSecurityToken that tells the place `name`."""
    if not _INSTANT.fullmatch(value):
        raise _invalid(f"{name} must be a dateTime with a zone, for example 2030-05-04T09:15:00Z")
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _invalid(f"{name} is no moment of the calendar") from None


# --- subject, audience, authentication --------------------------------------------------------------


def _authentication(root: Element) -> None:
    contexts = root.findall("saml:AuthnStatement/saml:AuthnContext", NS)
    references = (
        context.find("saml:AuthnContextClassRef", NS) is not None
        or context.find("saml:AuthnContextDeclRef", NS) is not None
        for context in contexts
    )
    if not contexts or not all(references):
        raise _invalid("an AuthnStatement with a class or declaration reference is needed")


def _audiences(conditions: Element) -> tuple[frozenset[str], ...]:
    restrictions = conditions.findall("saml:AudienceRestriction", NS)
    if not restrictions:
        raise _invalid("an AudienceRestriction is needed")
    return tuple(
        frozenset(text(audience) for audience in restriction.iterfind("saml:Audience", NS))
        for restriction in restrictions
    )


def _confirmations(root: Element) -> tuple[Confirmation, ...]:
    confirmations = tuple(
        _confirmation(element.find("saml:SubjectConfirmationData", NS))
        for element in root.iterfind("saml:Subject/saml:SubjectConfirmation", NS)
        if element.get("Method") == BEARER
    )
    if not confirmations:
        raise _invalid("a bearer SubjectConfirmation is needed")
    return confirmations


def _confirmation(data: Element | None) -> Confirmation:
    if data is None:
        return Confirmation(window=Window())
    window = Window(
        not_before=_instant(data, "NotBefore") if "NotBefore" in data.attrib else None,
        not_on_or_after=_instant(data, "NotOnOrAfter") if "NotOnOrAfter" in data.attrib else None,
    )
    return Confirmation(window=window, recipient=data.get("Recipient", ""))


# --- user ------------------------------------------------------------------------------------------


def _user(root: Element) -> User:
    name_id = _one(root, "saml:Subject/saml:NameID")
    attributes, issuer = _attributes(root), issuer_of(root)
    return User(
        name_id=_text(name_id),
        issuer=issuer,
        assertion_id=root.get("ID", ""),
        alias=name_id.get("SPProvidedID", ""),
        subject_id=", ".join(_texts(attributes, SUBJECT_ID)),
        organization=", ".join(_texts(attributes, ORGANIZATION)),
        organization_ids=_texts(attributes, ORGANIZATION_ID),
        home_community_id=_single(attributes, HOME_COMMUNITY_ID),
        roles=tuple(_codes(attributes.get(ROLE, ()), _ROLES, issuer)),
        purposes=tuple(_codes(attributes.get(PURPOSE_OF_USE, ()), _PURPOSES, issuer)),
        resource_ids=tuple(map(_patient, _texts(attributes, RESOURCE_ID))),
    )


def _attributes(root: Element) -> dict[str, list[Element]]:
    collected: dict[str, list[Element]] = {}
    for attribute in root.iterfind("saml:AttributeStatement/saml:Attribute", NS):
        values = attribute.findall("saml:AttributeValue", NS)
        collected.setdefault(attribute.get("Name", ""), []).extend(values)
    for name, other in _OTHER_NAMES.items():
        if not _says_something(collected.get(name, ())):
            collected[name] = collected.get(other, [])
    return collected


def _says_something(values: Sequence[Element]) -> bool:
    return any(len(value) or text(value) for value in values)


def _texts(attributes: dict[str, list[Element]], name: str) -> tuple[str, ...]:
    # An empty value says nothing; some senders write one for what they do not know.
    values = (value for value in attributes.get(name, ()) if len(value) or text(value))
    return tuple(dict.fromkeys(map(_text, values)))


def _single(attributes: dict[str, list[Element]], name: str) -> str:
    values = _texts(attributes, name)
    if len(values) > 1:
        raise _invalid(f"{name} has several values")
    return values[0] if values else ""


def _patient(resource_id: str) -> str:
    """A CX without the type of its id, `…&ISO^NH`, which a French one has."""
    untyped = re.sub(r"(&ISO)\^[^^&]*", r"\1", resource_id)
    return untyped if is_cx(untyped) else resource_id


def _plain(value: str, issuer: str) -> Code:
    """A role or purpose as plain text, in a code system that is its issuer's own: `physician^^<issuer>`."""
    if "^" in value or not value.isprintable():
        raise _invalid("a role or purpose as plain text holds a character that no code has")
    return Code(value, issuer)


def _codes(values: Sequence[Element], tags: tuple[str, ...], issuer: str) -> Iterator[Code]:
    for value in values:
        coded = list(elements(value))
        if not coded and (plain := text(value)):
            yield _plain(plain, issuer)
            continue
        if len(coded) != 1 or coded[0].tag not in tags:
            raise _invalid("a role or purpose must be one CE element of urn:hl7-org:v3")
        yield _code(coded[0])


def _code(element: Element) -> Code:
    code, system = element.get("code", "").strip(), element.get("codeSystem", "").strip()
    if not code or not system:
        raise _invalid("a role or purpose needs code and codeSystem")
    return Code(code, system.removeprefix("urn:oid:"), element.get("displayName", ""))
