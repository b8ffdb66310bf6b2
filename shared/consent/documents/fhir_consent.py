"""FHIR Consent (R4) by Privacy Consent on FHIR 1.1, Basic and Intermediate (IHE PCF).

The root provision says the base, nested ones are exceptions to it. What one profile or the other has and no
policy of ours can say (related data, dataPeriod, groups of actors) is refused with its path, as is everything
else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from shared.consent.documents.translation import Fields, NotTranslatable, Translation, combined

MAX_BYTES: Final = 256 * 1024

_RESOURCE: Final = frozenset(
    {
        "resourceType",
        "id",
        "meta",
        "text",
        "language",
        "identifier",
        "status",
        "scope",
        "category",
        "patient",
        "dateTime",
        "performer",
        "organization",
        "sourceReference",
        "sourceAttachment",
        "policy",
        "provision",
    }
)
_PROVISION: Final = frozenset(
    {"id", "type", "period", "actor", "purpose", "securityLabel", "data", "provision"}
)
#: Of overarching policies those of PCF under which a resource says the exceptions.
_POLICIES: Final = frozenset(
    f"https://profiles.ihe.net/ITI/PCF/Policy-{name}"
    for name in (
        "basic-normal",
        "all-normal",
        "break-glass-only",
        "deny",
        "basic",
        "intermediate",
        "advanced",
    )
)
_SYSTEMS: Final[Mapping[str, str]] = {
    "http://terminology.hl7.org/CodeSystem/v3-ActReason": "2.16.840.1.113883.5.8",
    "http://terminology.hl7.org/CodeSystem/v3-Confidentiality": "2.16.840.1.113883.5.25",
    "http://snomed.info/sct": "2.16.840.1.113883.6.96",
    "http://loinc.org": "2.16.840.1.113883.6.1",
}
_SCOPE: Final = ("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy")
_ROLE: Final = "IRCP"


def translated(octets: bytes, *, issuer: str = "") -> Translation:
    """What a Consent says.

    Parameters
    ----------
    issuer
        Whose NameIDs the identifiers of practitioners are where they have no system; without it these are
        refused.

    Raises
    ------
    NotTranslatable
        Something of it is not understood.
    """
    if len(octets) > MAX_BYTES:
        raise NotTranslatable(f"Consent is larger than {MAX_BYTES} bytes")
    try:
        consent = json.loads(octets, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, NotTranslatable) else "not readable as JSON"
        raise NotTranslatable(why) from None
    if not isinstance(consent, dict) or consent.get("resourceType") != "Consent":
        raise NotTranslatable("resourceType is not Consent")
    _knows(consent, _RESOURCE, "Consent")
    _head(consent)
    patient = _patient(consent.get("patient"))
    policies = tuple(_provisions(_object(consent.get("provision"), "Consent.provision"), issuer))
    return Translation(*patient, policies)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a name that stands there twice would be read differently by others."""
    if len({name for name, _ in pairs}) < len(pairs):
        raise NotTranslatable("a name stands twice in an object")
    return dict(pairs)


def _head(consent: Mapping[str, Any]) -> None:
    if consent.get("status") != "active":
        raise NotTranslatable("Consent.status: only an active consent is in force; remove one that is not")
    codings = [
        (one.get("system"), one.get("code")) for one in _codings(consent.get("scope"), "Consent.scope")
    ]
    if _SCOPE not in codings:
        raise NotTranslatable("Consent.scope: patient-privacy is needed")
    for name in ("category", "performer", "organization"):
        if not _list(consent.get(name), f"Consent.{name}"):
            raise NotTranslatable(f"Consent.{name}: at least one is needed")
    if not isinstance(consent.get("dateTime"), str):
        raise NotTranslatable("Consent.dateTime: needed")
    if ("sourceReference" in consent) is ("sourceAttachment" in consent):
        raise NotTranslatable("Consent.source[x]: one is needed")
    uris = [
        _object(one, "Consent.policy").get("uri") for one in _list(consent.get("policy"), "Consent.policy")
    ]
    if not uris or (others := [uri for uri in uris if not isinstance(uri, str) or uri not in _POLICIES]):
        raise NotTranslatable(
            f"Consent.policy.uri: {others[0] if uris else 'none'} is none of PCF, as {min(_POLICIES)} is"
        )


def _patient(value: object) -> tuple[str, str]:
    identifier = _object(_object(value, "Consent.patient").get("identifier"), "Consent.patient.identifier")
    system, extension = identifier.get("system"), identifier.get("value")
    if not isinstance(system, str) or not isinstance(extension, str) or not system.startswith("urn:oid:"):
        raise NotTranslatable("Consent.patient.identifier: a system urn:oid:… and a value are needed")
    if not extension or "^" in extension or "&" in extension:
        raise NotTranslatable("Consent.patient.identifier.value: is no id of a patient")
    return system.removeprefix("urn:oid:"), extension


def _provisions(root: Mapping[str, Any], issuer: str) -> Iterable[Fields]:
    """The base and its exceptions. A base that denies all but its exceptions is the list that they close."""
    base = _effect(root, "Consent.provision")
    conditions = _conditions(root, "Consent.provision", issuer)
    nested = [
        (one, f"Consent.provision.provision[{at}]")
        for at, one in enumerate(_list(root.get("provision"), "Consent.provision.provision"))
    ]
    exceptions = []
    for one, where in nested:
        inner = _object(one, where)
        if "provision" in inner:
            raise NotTranslatable(f"{where}.provision: exceptions to exceptions are not understood")
        if _effect(inner, where) == base:
            raise NotTranslatable(f"{where}.type: an exception says the other than its base, {base}")
        if base == "deny" and "period" in inner:
            raise NotTranslatable(f"{where}.period: who is permitted is a list that ends as a whole")
        exceptions += _conditions(inner, where, issuer)
    bounded = combined(conditions, exceptions) if exceptions else []
    if base == "permit":
        yield from ({"effect": "permit", **fields} for fields in conditions)
        yield from ({"effect": "deny", **fields} for fields in bounded)
    elif not exceptions:
        yield from ({"effect": "deny", **fields} for fields in conditions)
    elif any(set(fields) - {"valid_from", "valid_until"} for fields in conditions):
        raise NotTranslatable(
            "Consent.provision: a denial of some, with permitted exceptions, is what no policies can hold"
        )
    else:
        yield from ({"effect": "permit", **fields} for fields in bounded)


def _effect(provision: Mapping[str, Any], where: str) -> str:
    _knows(provision, _PROVISION, where)
    effect = provision.get("type")
    if effect not in ("permit", "deny"):
        raise NotTranslatable(f"{where}.type: permit or deny is needed")
    return str(effect)


def _conditions(provision: Mapping[str, Any], where: str, issuer: str) -> list[Fields]:
    fields: dict[str, Any] = {}
    if "period" in provision:
        fields |= _period(_object(provision["period"], f"{where}.period"), f"{where}.period")
    if purposes := _list(provision.get("purpose"), f"{where}.purpose"):
        fields["purposes"] = [_coded(one, f"{where}.purpose") for one in purposes]
    if labels := _list(provision.get("securityLabel"), f"{where}.securityLabel"):
        fields["confidentiality"] = [_coded(one, f"{where}.securityLabel") for one in labels]
    listed = _list(provision.get("actor"), f"{where}.actor")
    actors = _by_kind(_actor(one, f"{where}.actor", issuer) for one in listed)
    data = _by_kind(_data(one, f"{where}.data") for one in _list(provision.get("data"), f"{where}.data"))
    return combined([fields], actors, data)


def _by_kind(pairs: Iterable[tuple[str, str]]) -> list[Fields]:
    """What is named, as alternatives by the field of a policy; of nothing one that asks nothing."""
    values: dict[str, list[str]] = {}
    for kind, value in pairs:
        values.setdefault(kind, []).append(value)
    return [{kind: listed} for kind, listed in values.items()] or [{}]


def _data(value: object, where: str) -> tuple[str, str]:
    """A single document or study, or who wrote it."""
    data = _object(value, where)
    _knows(data, frozenset({"id", "meaning", "reference"}), where)
    reference = _object(data.get("reference"), f"{where}.reference")
    kind = reference.get("type") or str(reference.get("reference", "")).partition("/")[0]
    identifier = _object(reference.get("identifier"), f"{where}.reference.identifier")
    system, name = identifier.get("system"), identifier.get("value")
    if not isinstance(name, str) or not name or "^" in name or not isinstance(system, str | None):
        raise NotTranslatable(f"{where}.reference.identifier: has no value")
    if data.get("meaning") == "instance" and kind in ("DocumentReference", "ImagingStudy"):
        return "documents", name.removeprefix("urn:oid:")
    prefix = {"Practitioner": "person|", "Organization": "institution|"}.get(str(kind))
    if data.get("meaning") != "authoredby" or prefix is None:
        raise NotTranslatable(
            f"{where}: instance of a DocumentReference or ImagingStudy is understood, and authoredby a "
            "Practitioner or Organization"
        )
    if name.startswith("urn:oid:"):
        return "authors", prefix + name.removeprefix("urn:oid:")
    if system is None or not system.startswith("urn:oid:"):
        raise NotTranslatable(f"{where}.reference.identifier: the system of an author is an urn:oid:")
    return "authors", f"{prefix}{name}^^{system.removeprefix('urn:oid:')}"


def _actor(value: object, where: str, issuer: str) -> tuple[str, str]:
    actor = _object(value, where)
    _knows(actor, frozenset({"id", "role", "reference"}), where)
    if _ROLE not in [one.get("code") for one in _codings(actor.get("role"), f"{where}.role")]:
        raise NotTranslatable(f"{where}.role: {_ROLE} is understood, the one who receives")
    reference = _object(actor.get("reference"), f"{where}.reference")
    kind = reference.get("type") or str(reference.get("reference", "")).partition("/")[0]
    identifier = _object(reference.get("identifier"), f"{where}.reference.identifier")
    system, name = identifier.get("system"), identifier.get("value")
    if not isinstance(name, str) or not name or not isinstance(system, str | None):
        raise NotTranslatable(f"{where}.reference.identifier: has no value")
    if kind == "Organization":
        return "organizations", name
    if kind == "Practitioner":
        if not (system or issuer):
            raise NotTranslatable(f"{where}.reference.identifier: names a person without the issuer (system)")
        return "users", f"{name}@{system or issuer}"
    raise NotTranslatable(
        f"{where}.reference: {kind or 'what it is'} is not understood; type it Organization or Practitioner"
    )


def _period(period: Mapping[str, Any], where: str) -> Fields:
    _knows(period, frozenset({"id", "start", "end"}), where)
    fields: dict[str, Any] = {}
    if "start" in period:
        fields["valid_from"] = _moment(period["start"], f"{where}.start")[0]
    if "end" in period:
        # Inclusive: a day that is named has to be over.
        fields["valid_until"] = _moment(period["end"], f"{where}.end")[1]
    if not fields or fields.get("valid_from", datetime.min.replace(tzinfo=UTC)) >= fields.get(
        "valid_until", datetime.max.replace(tzinfo=UTC)
    ):
        raise NotTranslatable(f"{where}: start or end are needed, in this order")
    return fields


def _moment(text: object, where: str) -> tuple[datetime, datetime]:
    """Beginning and end of a dateTime, of a day or finer."""
    try:
        if not isinstance(text, str):
            raise ValueError
        if len(text) == 10:
            day = datetime.fromisoformat(text).replace(tzinfo=UTC)
            return day, day + timedelta(days=1)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC), moment.astimezone(UTC) + timedelta(seconds=1)
    except (ValueError, OverflowError):
        raise NotTranslatable(f"{where}: a day (2030-05-04), or a time with its zone, is needed") from None


def _coded(value: object, where: str) -> str:
    coding = _object(value, where)
    system, code = coding.get("system"), coding.get("code")
    scheme = _SYSTEMS.get(system, "") if isinstance(system, str) else ""
    if isinstance(system, str) and system.startswith("urn:oid:"):
        scheme = system.removeprefix("urn:oid:")
    if not scheme or not isinstance(code, str) or not code or "^" in code:
        raise NotTranslatable(f"{where}: a code of {', '.join(_SYSTEMS)} or of an urn:oid: is needed")
    return f"{code}^^{scheme}"


def _codings(value: object, where: str) -> list[Mapping[str, Any]]:
    return [_object(one, where) for one in _list(_object(value, where).get("coding"), f"{where}.coding")]


def _knows(value: Mapping[str, Any], names: frozenset[str], where: str) -> None:
    if unknown := sorted(set(value) - names):
        raise NotTranslatable(
            f"{where}.{unknown[0]}: is not understood; a consent is taken whole or not at all"
        )


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise NotTranslatable(f"{where}: needed")
    if "modifierExtension" in value:
        raise NotTranslatable(f"{where}.modifierExtension: changes what is said, and is not understood")
    return value


def _list(value: object, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > 100:
        raise NotTranslatable(f"{where}: a list of at most 100 is needed")
    return value
