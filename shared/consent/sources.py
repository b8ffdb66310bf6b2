"""Where a service that is not the registry takes consent from: the registry, policies of its own, or nowhere.

Only our own registry hands out policies. Beside one of another vendor a service decides by a file of
policies, or asks for no consent at all, because something else in front of it does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import httpx2

from shared.consent.binding import bound
from shared.consent.decision import Action, Consent, Decision, Resource
from shared.consent.directory import ConsentDecisions, Fetch, registry_policies
from shared.consent.policy import MAX_POLICIES, PatientPolicies, Policy, PolicyError, new_policy
from shared.ebrim.identifiers import CX
from shared.security.caller import Caller
from shared.settings import ConsentSource, ServiceSettings, SettingsError

UNASKED = Decision(True, "consent is not asked here (XDSI_CONSENT__SOURCE=none)")
_EVERYONE, _PATIENTS = "everyone", "patients"


class Unasked:
    """No consent: whoever is let in by certificate and assertion is permitted."""

    async def decide(
        self, caller: Caller, action: Action, resources: tuple[Resource, ...]
    ) -> tuple[Decision, ...]:
        """Permit each resource, but of another patient than the assertion is bound to."""
        return bound((UNASKED,) * len(resources), resources, caller)


def open_consent(settings: ServiceSettings, http: httpx2.AsyncClient) -> Consent:
    """The decisions of a service under its settings; `http` may speak to `settings.consent_url`.

    Raises
    ------
    SettingsError
        The file of policies cannot be used.
    """
    consent = settings.consent
    if consent.source is ConsentSource.NONE:
        return Unasked()
    if consent.source is ConsentSource.POLICIES and consent.policies is not None:
        try:
            read_policies(consent.policies)
        except PolicyError as error:
            raise SettingsError((f"XDSI_CONSENT__POLICIES: {error}",)) from None
        fetch = file_policies(consent.policies)
    else:
        fetch = registry_policies(http, settings.consent_url)
    return ConsentDecisions(fetch, settings.consent_default, consent.max_age_seconds)


# --- policies in a file -------------------------------------------------------------------------------


def file_policies(path: Path) -> Fetch:
    """A fetcher of policies from the file `path`, which is read anew each time.

    Raises, when it is awaited
    --------------------------
    PolicyError
        The file cannot be read: then nobody is permitted anything.
    """

    async def fetch(patient_id: str) -> PatientPolicies:
        everyone, patients = await asyncio.to_thread(read_policies, path)
        concerned = (*everyone, *patients.get(patient_id, ()))
        return PatientPolicies(patient_id, tuple(replace(each, patient_id=patient_id) for each in concerned))

    return fetch


def read_policies(path: Path) -> tuple[tuple[Policy, ...], Mapping[str, tuple[Policy, ...]]]:
    """Read a file of policies: those for every patient, and those of each patient by CX.

    `{"everyone": [policy, …], "patients": {"P-1^^^&1.2.3&ISO": [policy, …]}}`; a policy has `effect` and what
    else `xdsi consent set` takes, by the names of `shared.consent.policy.Policy`. All that concern a patient
    are decided together.

    Raises
    ------
    PolicyError
        The file cannot be read, or a policy is malformed; the text says where.
    """
    try:
        content = json.loads(path.read_bytes())
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except (OSError, ValueError, RecursionError) as error:
        raise PolicyError(f"{path} cannot be read as JSON ({type(error).__name__})") from None
    if not isinstance(content, dict) or not set(content) <= {_EVERYONE, _PATIENTS}:
        raise PolicyError(f"{path}: an object with {_EVERYONE} and {_PATIENTS} is needed, and nothing else")
    patients = content.get(_PATIENTS, {})
    if not isinstance(patients, dict):
        raise PolicyError(f"{path}: {_PATIENTS} must be an object, patient id to list of policies")
    try:
        of_patients = {
            _cx(patient_id): _listed(listed, _cx(patient_id), written)
            for patient_id, listed in patients.items()
        }
        return _listed(content.get(_EVERYONE, []), _ANYBODY, written), of_patients
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None


# A policy is always somebody's; those for every patient are decided with the patient's own.
_ANYBODY = "everyone^^^&0&ISO"


def _cx(patient_id: str) -> str:
    try:
        return str(CX.parse(patient_id))
    except ValueError:
        raise PolicyError(f"{_PATIENTS}: each must be a CX, for example 17^^^&1.2.3&ISO") from None


def _listed(listed: Any, patient_id: str, written: datetime) -> tuple[Policy, ...]:
    if not isinstance(listed, Sequence) or isinstance(listed, str) or len(listed) > MAX_POLICIES:
        raise PolicyError(f"a list of at most {MAX_POLICIES} policies is needed")
    return tuple(_policy(fields, patient_id, written, at) for at, fields in enumerate(listed, 1))


def _policy(fields: Any, patient_id: str, written: datetime, at: int) -> Policy:
    if not isinstance(fields, dict) or "effect" not in fields:
        raise PolicyError(f"policy {at}: an object with effect is needed")
    # The same policy has the same id after each reading, so that the trail can name it.
    spelled = json.dumps([patient_id, at, fields], sort_keys=True)
    members = {"policy_id": uuid5(NAMESPACE_URL, spelled).urn, "created": written, **fields}
    policy = new_policy(**{**members, "patient_id": patient_id})
    if policy.is_of_single_documents:
        raise PolicyError(
            f"policy {at}: authors and documents are known to our own registry alone; leave them out"
        )
    return policy
