"""The consent policies of patients, as JSON texts, and the identities that each decide by theirs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Text,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from registry.domain.patients import MergeUnderWay
from registry.store.tables import consent, consent_document, patient
from shared.consent.policy import MAX_POLICIES, Policy, encode_policy
from shared.ebrim.model import DocumentEntry
from shared.errors import TooManyPolicies
from shared.store.engine import Reader, Transaction
from shared.store.statements import in_list, lines

#: Stands before an identity that is being merged; no patient id has a control character.
_MERGING = "\x1f"


def _identity(of: FromClause) -> ColumnElement[str]:
    return case((of.c.merging == 1, _MERGING + of.c.patient_id), else_=of.c.patient_id)


_OF = (
    select(consent.c.patient_id, consent.c.policy)
    .where(in_list(consent.c.patient_id, "patients"))
    .order_by(consent.c.policy_id)
)
_IDENTITIES = select(patient.c.survivor, _identity(patient)).where(in_list(patient.c.survivor, "patients"))
_KEPT = select(consent.c.patient_id, consent.c.policy).where(consent.c.policy_id == bindparam("policy_id"))
_INSERT = insert(consent)
_UPDATE = update(consent).where(consent.c.policy_id == bindparam("which")).values(policy=bindparam("policy"))
#: How a break is told in its text, where no value can hold it: quotes are escaped inside of values.
_BREAK = '"effect": "break"'
_IS_BREAK = consent.c.policy.contains(_BREAK)
_NUMBER = select(func.count()).where(consent.c.patient_id == bindparam("patient_id"), ~_IS_BREAK)
_BREAKS = select(consent.c.policy).where(consent.c.patient_id == bindparam("patient_id"), _IS_BREAK)
_ALL_BREAKS = select(consent.c.policy).where(_IS_BREAK)
_OF_PATIENT = select(consent.c.policy).where(consent.c.patient_id == bindparam("patient_id"))
_KEEP_DOCUMENT = insert(consent_document)
_DOCUMENT = select(consent_document.c.format_code, consent_document.c.content).where(
    consent_document.c.source == bindparam("source")
)
_REMOVE_DOCUMENT = delete(consent_document).where(consent_document.c.source == bindparam("source"))
_SOURCES = select(consent_document.c.source).where(in_list(consent_document.c.source, "ids"))
# As a break is told: no value can hold a quote that is not escaped.
_REMOVE_OF_SOURCE = delete(consent).where(consent.c.policy.contains(bindparam("source")))
_REMOVE = delete(consent).where(
    consent.c.policy_id == bindparam("policy_id"), consent.c.patient_id == bindparam("patient_id")
)


class Given(NamedTuple):
    """What decides about a patient: policies as JSON texts, and the ids that merges made one. Both are
    ordered, so that equal ones are known again; `identities` is empty where nothing was merged.
    """

    policies: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()

    @classmethod
    def of_lines(cls, policies: str | None, identities: str | None) -> Given:
        """From what `POLICY_LINES` and `IDENTITY_LINES` read; a policy has no line feed inside.

        Raises
        ------
        MergeUnderWay
            What was read together with them may be half of what the patient has.
        """
        if _MERGING in (identities or ""):
            raise MergeUnderWay((identities or "").split(_MERGING)[1].partition("\n")[0])
        merged = tuple(sorted((identities or "").splitlines()))
        return cls(tuple(sorted((policies or "").splitlines())), merged if len(merged) > 1 else ())


# Whoever was merged away is decided by all that the survivor has, even while objects are still to be moved.
_SURVIVOR = func.coalesce(
    select(patient.c.survivor).where(patient.c.patient_id == bindparam("patient")).scalar_subquery(),
    bindparam("patient", type_=Text),
)
_other = patient.alias("other")
#: The same for the patient `patient`, to be read beside other columns.
POLICY_LINES = select(lines(consent.c.policy)).where(consent.c.patient_id == _SURVIVOR).scalar_subquery()
IDENTITY_LINES = select(lines(_identity(_other))).where(_other.c.survivor == _SURVIVOR).scalar_subquery()
_SURVIVORS = select(patient.c.patient_id, patient.c.survivor).where(
    in_list(patient.c.patient_id, "patients"), patient.c.survivor != patient.c.patient_id
)


async def find_given(database: Reader, patients: Iterable[str]) -> dict[str, Given]:
    """What decides about each of `patients`."""
    patient_ids = sorted(set(patients))
    survivors = {row[0]: row[1] for row in await database.fetch(_SURVIVORS, patients=patient_ids)}
    survivor_ids = sorted({survivors.get(patient_id, patient_id) for patient_id in patient_ids})
    policies: dict[str, list[str]] = {patient_id: [] for patient_id in survivor_ids}
    identities: dict[str, list[str]] = {patient_id: [] for patient_id in survivor_ids}
    for patient_id, policy in await database.fetch(_OF, patients=survivor_ids):
        policies[patient_id].append(policy)
    for survivor, patient_id in await database.fetch(_IDENTITIES, patients=survivor_ids):
        identities[survivor].append(patient_id)
    consents = {
        patient_id: Given.of_lines("\n".join(policies[patient_id]), "\n".join(identities[patient_id]))
        for patient_id in survivor_ids
    }
    return {patient_id: consents[survivors.get(patient_id, patient_id)] for patient_id in patient_ids}


async def find_kept(database: Reader, policy_id: str) -> tuple[str, str] | None:
    """The patient whose policy has this id, and the policy; None when there is none."""
    rows = await database.fetch(_KEPT, policy_id=policy_id)
    return (rows[0][0], rows[0][1]) if rows else None


async def find_breaks(transaction: Transaction, patient_id: str) -> list[str]:
    """The breaks of a patient."""
    return [row[0] for row in await transaction.fetch(_BREAKS, patient_id=patient_id)]


async def find_all_breaks(database: Reader) -> list[str]:
    """The breaks of all patients; reads every policy."""
    return [row[0] for row in await database.fetch(_ALL_BREAKS)]


async def keep_policy(
    transaction: Transaction, *, policy_id: str, patient_id: str, policy: str, is_new: bool
) -> None:
    """Record a policy, or replace the one with its id.

    Raises
    ------
    TooManyPolicies
        It would be one more than the services that decide by a copy read. Breaks are not counted.
    """
    if is_new:
        if _BREAK not in policy:
            ((number,),) = await transaction.fetch(_NUMBER, patient_id=patient_id)
            if number >= MAX_POLICIES:
                raise TooManyPolicies(
                    f"the patient has {number} consent policies, and at most {MAX_POLICIES} are kept; remove "
                    "some, or say the same with fewer"
                )
        await transaction.execute(_INSERT, policy_id=policy_id, patient_id=patient_id, policy=policy)
    else:
        await transaction.execute(_UPDATE, which=policy_id, policy=policy)


async def remove_policy(transaction: Transaction, *, policy_id: str, patient_id: str) -> bool:
    """Remove a policy of a patient; False when there was none."""
    return bool(await transaction.execute(_REMOVE, policy_id=policy_id, patient_id=patient_id))


async def find_policies(database: Reader, patient_id: str) -> list[str]:
    """The policies of a patient."""
    return [row[0] for row in await database.fetch(_OF_PATIENT, patient_id=patient_id)]


async def keep_document(
    transaction: Transaction, *, source: str, format_code: str, content: bytes, created: str
) -> None:
    """Keep a consent document or resource as it came."""
    await transaction.execute(
        _KEEP_DOCUMENT, source=source, format_code=format_code, content=content, created=created
    )


async def find_document(database: Reader, source: str) -> tuple[str, bytes] | None:
    """The format code and the octets of a consent document; None when there is none."""
    rows = await database.fetch(_DOCUMENT, source=source)
    return (rows[0][0], rows[0][1]) if rows else None


async def remove_document(transaction: Transaction, source: str) -> bool:
    """Remove a consent document; False when there was none."""
    return bool(await transaction.execute(_REMOVE_DOCUMENT, source=source))


async def end_consents(transaction: Transaction, entries: Iterable[str]) -> None:
    """Remove what was kept of those of `entries`, by entryUUID, that are consents: no more in force."""
    for (source,) in await transaction.fetch(_SOURCES, ids=sorted(entries)):
        await transaction.execute(_REMOVE_OF_SOURCE, source=f'"source": {json.dumps(source)}')
        await remove_document(transaction, source)


async def keep_consent(transaction: Transaction, entry: DocumentEntry, policies: Iterable[Policy]) -> None:
    """Keep what a consent document says, in place of what was kept of it."""
    await end_consents(transaction, [entry.entry_uuid])
    of_entry = [replace(policy, source=entry.entry_uuid) for policy in policies]
    if not of_entry:
        return
    await keep_document(
        transaction,
        source=entry.entry_uuid,
        format_code=entry.format_code.value,
        content=b"",  # the repository has it
        created=of_entry[0].created.isoformat(),
    )
    for policy in of_entry:
        await keep_policy(
            transaction,
            policy_id=policy.policy_id,
            patient_id=policy.patient_id,
            policy=json.dumps(encode_policy(policy)),
            is_new=True,
        )
