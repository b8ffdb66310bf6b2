"""Basic Patient Privacy Consents: a CDA document that acknowledges policies of the domain (ITI TF-1 19).

What a policy OID means stands in a file of the domain; one that is not there is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

from shared.consent.documents.translation import Fields, NotTranslatable, Translation, parsed
from shared.consent.policy import PolicyError, new_policy
from shared.ebrim.model import Code, Timestamp
from shared.xml import Element

FORMAT_CODES: Final = frozenset({"urn:ihe:iti:bppc:2007", "urn:ihe:iti:bppc-sd:2007"})
SERVICE_EVENT: Final = "1.3.6.1.4.1.19376.1.5.3.1.2.6"

_C: Final = "{urn:hl7-org:v3}"
_POLICY_ID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+|urn:(?!oid:)[!-~]+")
_TS = re.compile(r"(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:\.\d+)?([+-]\d{4})?")

#: What each policy OID of the domain means.
Meanings = Mapping[str, tuple[Fields, ...]]


def read_meanings(path: Path) -> Meanings:
    """What the policy OIDs of the domain mean: a JSON object of OID to a list of policies.

    Raises
    ------
    PolicyError
        The file cannot be read, or one of them is no policy.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise PolicyError(f"{path} is not readable as JSON") from None
    if not isinstance(content, dict):
        raise PolicyError(f"{path}: an object of policy OIDs is needed")
    for oid, policies in content.items():
        if not _POLICY_ID.fullmatch(oid) or not isinstance(policies, list) or not policies:
            raise PolicyError(
                f"{path}: {oid!r}: an OID or URN, and what it means as a list of policies, are needed"
            )
        for fields in policies:
            if not isinstance(fields, dict) or {"valid_from", "valid_until", "patient_id"} & set(fields):
                raise PolicyError(f"{path}: {oid}: patient and times come from the document")
            new_policy(**fields, patient_id="1^^^&1.2&ISO")
    return {oid: tuple(policies) for oid, policies in content.items()}


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What a BPPC document says: whose it is, which policies are acknowledged, and since and until when."""

    patient: tuple[str, str]
    oids: tuple[str, ...]
    begins: datetime
    ends: datetime | None

    @property
    def bounds(self) -> dict[str, Any]:
        """When it holds, as fields of a policy."""
        return {"valid_from": self.begins} | ({"valid_until": self.ends} if self.ends else {})


def read(octets: bytes) -> Acknowledged:
    """Read a BPPC document.

    Raises
    ------
    NotTranslatable
        Something of it is not understood.
    """
    root = parsed(octets)
    if root.tag != f"{_C}ClinicalDocument":
        raise NotTranslatable("the root is not ClinicalDocument of urn:hl7-org:v3")
    events = [
        event for event in root.iterfind(f"{_C}documentationOf/{_C}serviceEvent") if _acknowledges(event)
    ]
    if not events:
        raise NotTranslatable(
            "no serviceEvent acknowledges a policy (template 1.3.6.1.4.1.19376.1.5.3.1.2.6)"
        )
    times = {_times(event) for event in events}
    if len(times) > 1:
        raise NotTranslatable("the serviceEvents have different times; all policies hold for the same")
    begins, ends = times.pop()
    return Acknowledged(_patient(root), tuple(map(_acknowledged, events)), begins, ends)


def translated(octets: bytes, meanings: Meanings) -> Translation:
    """What a BPPC document says; raises `NotTranslatable` if something of it is not understood."""
    document = read(octets)
    policies = tuple(
        {**fields, **document.bounds} for oid in document.oids for fields in of_domain(oid, meanings)
    )
    return Translation(*document.patient, policies)


def check_metadata(
    octets: bytes,
    *,
    patient: tuple[str, str],
    event_codes: Iterable[Code],
    begins: Timestamp | None,
    ends: Timestamp | None,
) -> None:
    """Hold a document against its metadata, by which a registry decides.

    Raises
    ------
    NotTranslatable
        They say different things, or something of the document is not understood.
    """
    document = read(octets)
    if document.patient != patient:
        raise NotTranslatable("recordTarget names another patient than the metadata")
    if set(document.oids) != _oids(event_codes):
        raise NotTranslatable("the policies of the serviceEvents are not those of eventCodeList")
    of_metadata_times = (begins and _moment(begins.digits)[0], ends and _moment(ends.digits)[1])
    if of_metadata_times != (document.begins, document.ends):
        raise NotTranslatable(
            "effectiveTime of the serviceEvents is not serviceStartTime and serviceStopTime of the metadata"
        )


def of_metadata(
    event_codes: Iterable[Code], begins: Timestamp | None, ends: Timestamp | None, meanings: Meanings
) -> tuple[Fields, ...]:
    """What the metadata of a registered document say: its eventCodeList, and the times of service.

    Raises
    ------
    NotTranslatable
        A policy is none of the domain, or there is no time from which they hold.
    """
    oids = sorted(_oids(event_codes))
    if not oids or begins is None:
        raise NotTranslatable("a consent has its policies in eventCodeList, and serviceStartTime")
    bounds: dict[str, Any] = {"valid_from": _moment(begins.digits)[0]}
    if ends is not None:
        bounds["valid_until"] = _moment(ends.digits)[1]
        if bounds["valid_until"] <= bounds["valid_from"]:
            raise NotTranslatable("serviceStopTime is before serviceStartTime")
    return tuple({**fields, **bounds} for oid in oids for fields in of_domain(oid, meanings))


def _acknowledges(event: Element) -> bool:
    return any(one.get("root") == SERVICE_EVENT for one in event.findall(f"{_C}templateId"))


def _oids(event_codes: Iterable[Code]) -> set[str]:
    return {code.value.removeprefix("urn:oid:") for code in event_codes}


def _acknowledged(event: Element) -> str:
    oids = [one.get("code", "").removeprefix("urn:oid:") for one in event.findall(f"{_C}code")]
    if len(oids) != 1 or not oids[0]:
        raise NotTranslatable("a serviceEvent names one policy in its code")
    return oids[0]


def of_domain(name: str, meanings: Meanings) -> tuple[Fields, ...]:
    """What a policy of the domain means; raises `NotTranslatable` when it is none."""
    oid = name.removeprefix("urn:oid:")
    if oid not in meanings:
        raise NotTranslatable(
            f"policy {oid} is none of the domain; known are {', '.join(sorted(meanings)) or 'none'}"
        )
    return meanings[oid]


def _times(event: Element) -> tuple[datetime, datetime | None]:
    low, high = (event.findall(f"{_C}effectiveTime/{_C}{end}") for end in ("low", "high"))
    if len(low) != 1 or not low[0].get("value") or len(high) > 1:
        raise NotTranslatable("a serviceEvent has one effectiveTime with low, and at most one high")
    begins, _ = _moment(low[0].get("value", ""))
    # An end is told as an interval as fine as it is written: a day ends when it is over.
    ends = _moment(high[0].get("value", ""))[1] if high and high[0].get("value") else None
    if high and ends is None and not high[0].get("nullFlavor"):
        raise NotTranslatable("effectiveTime high is neither a time nor null")
    if ends is not None and ends <= begins:
        raise NotTranslatable("effectiveTime ends before it begins")
    return begins, ends


def _moment(text: str) -> tuple[datetime, datetime]:
    """Beginning and end of a time as HL7 writes it."""
    matched = _TS.fullmatch(text)
    try:
        if matched is None:
            raise ValueError
        numbers = [int(part) for part in matched.groups()[:6] if part]
        zone = UTC
        if sign := matched[7]:
            minutes = int(sign[1:3]) * 60 + int(sign[3:])
            zone = timezone(timedelta(minutes=minutes if sign[0] == "+" else -minutes))
        begins = datetime(*(numbers + [1] * (3 - len(numbers))), tzinfo=zone)  # type: ignore[misc,arg-type]
        units = ("days", "hours", "minutes", "seconds")
        if len(numbers) < 3:
            year, month = begins.year + (len(numbers) == 1 or begins.month == 12), begins.month % 12 + 1
            ends = begins.replace(year=year, month=begins.month if len(numbers) == 1 else month)
        else:
            ends = begins + timedelta(**{units[len(numbers) - 3]: 1})
    except (ValueError, OverflowError):
        raise NotTranslatable("a time of a serviceEvent is not written as HL7 does (20300504)") from None
    return begins.astimezone(UTC), ends.astimezone(UTC)


def _patient(root: Element) -> tuple[str, str]:
    ids = root.findall(f"{_C}recordTarget/{_C}patientRole/{_C}id")
    whole = [(one.get("root", ""), one.get("extension", "")) for one in ids]
    if len(root.findall(f"{_C}recordTarget")) != 1 or len(whole) != 1 or not all(whole[0]):
        raise NotTranslatable("recordTarget names one patient by one id with root and extension")
    return whole[0]
