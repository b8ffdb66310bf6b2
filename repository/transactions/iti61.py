"""Register On-Demand Document Entry [ITI-61], initiating side, and the registration of delayed entries by
ITI-42: entries of documents that are made when they are asked for (`assembling`)."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from repository.domain.assembly import Assembly, AssemblyKind, assembly_of, entry_submission
from repository.domain.provision import Provision, ProvisionState, digest_of
from repository.store import assemblies, documents
from repository.transactions import registration
from repository.unit import Unit
from shared.attempts import to_its_end
from shared.ebrim.codec import encode_submission
from shared.ebrim.identifiers import new_oid, new_uuid
from shared.messages.on_demand import ManifestRequest
from shared.messages.registry import RegistryResponse
from shared.store.engine import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredEntry:
    """The entry of a study, and what the registry says of it; `final` is False while that is not known."""

    unique_id: str
    response: RegistryResponse
    final: bool


async def enter(unit: Unit, study_instance_uid: str, patient_id: str, kind: AssemblyKind) -> RegisteredEntry:
    """Register an entry whose document is the manifest of a study, without making it.

    A study has one On-Demand entry for a patient: what is there already is answered again.

    Parameters
    ----------
    patient_id
        CX of the affinity domain; empty for the study's own.

    Raises
    ------
    CannotMake, ProviderUnavailable
        The provider does not describe the study.
    """
    unique_id = new_oid()
    described = await unit.parts.provider.make(
        ManifestRequest(
            study_instance_uid=study_instance_uid,
            patient_id=patient_id,
            document_unique_id=unique_id,
            on_demand=kind is AssemblyKind.ON_DEMAND,
        )
    )
    submission = entry_submission(
        described.submission,
        kind,
        unique_id,
        repository_unique_id=unit.parts.settings.repository_unique_id,
    )
    octets = encode_submission(submission)
    provision = Provision(
        provision_id=str(uuid4()),
        message_id=new_uuid(),
        digest=digest_of(octets, {}),
        registration_message_id=new_uuid(),
        registration=octets,
    )
    assembly = assembly_of(submission, kind, provision.provision_id, study_instance_uid)
    # Once the provision is committed its outcome must be recorded, even if the caller hangs up.
    return await to_its_end(_entered(unit, assembly, provision))


async def _entered(unit: Unit, assembly: Assembly, provision: Provision) -> RegisteredEntry:
    async def begin(transaction: Transaction) -> Assembly:
        if assembly.kind is AssemblyKind.ON_DEMAND and (
            before := await assemblies.find_on_demand(
                transaction, assembly.study_instance_uid, assembly.patient_id
            )
        ):
            return before
        await documents.insert_provision(transaction, provision, ())
        await assemblies.insert_assembly(transaction, assembly)
        return assembly

    async def begun(transaction: Transaction) -> Assembly | None:
        return assembly if await documents.provision_of(transaction, provision.provision_id) else None

    current = await unit.write(begin, done=begun)
    if current is assembly:
        outcome = await registration.register(unit, provision, first=True)
        return RegisteredEntry(unique_id=assembly.unique_id, response=outcome.response, final=outcome.final)
    before = await documents.provision_of(unit.parts.database, current.provision_id)
    if before is None:
        raise LookupError(f"provision {current.provision_id} is gone")
    if before.state is ProvisionState.REGISTERED:
        return RegisteredEntry(
            unique_id=current.unique_id, response=registration.stored_answer(before), final=True
        )
    outcome = await registration.register(unit, before)
    return RegisteredEntry(unique_id=current.unique_id, response=outcome.response, final=outcome.final)
