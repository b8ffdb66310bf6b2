"""Snapshots of On-Demand documents, kept and registered (ITI TF-2 3.43.4.1.3, Persistence of Retrieved
Documents): the same content is one, new content takes the place of the one before (RPLC).

Of one entry's snapshots only the current one is Approved. Snapshots are registered one after the other, each
made of content that is not older than the last one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from uuid import uuid4

from repository.domain.assembly import Assembly, Snapshot, snapshot
from repository.domain.provision import ContentDigest, Provision, digest_of
from repository.store import assemblies, documents
from repository.store.snapshots import insert_snapshot, latest_snapshot
from repository.transactions import registration
from repository.transactions.registration import RegistrationOutcome
from repository.unit import Unit
from shared.attempts import to_its_end
from shared.ebrim.codec import encode_submission
from shared.ebrim.identifiers import new_uuid
from shared.errors import Actor, Rejected, XdsError
from shared.messages.on_demand import MadeManifest
from shared.messages.registry import RegistryResponse, Status
from shared.store.engine import Transaction
from shared.telemetry.log import logger

_log = logger("repository.snapshots")

# So many snapshots in a row may be in doubt when one is asked for.
_TURNS = 5

# What is answered when an entry that is named is no longer Approved, or was removed.
_GONE = frozenset({"XDSRegistryDeprecatedDocumentError", "UnresolvedReferenceException"})

_REGISTERED = RegistrationOutcome(RegistryResponse(status=Status.SUCCESS), final=True)


class SnapshotOutcome(Enum):
    """What became of a snapshot.

    `OVERTAKEN`: another one was registered since the one before was read, so that this may be of older
    content and is to be made again. `NOT_TAKEN`: the On-Demand entry is not Approved any more, or was
    removed, so that there are no snapshots of it.
    """

    REGISTERED = auto()
    OVERTAKEN = auto()
    NOT_TAKEN = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """What is to be sent for a snapshot: nothing when the registry has it, or when another overtook it."""

    provision: Provision | None = None
    first: bool = False
    overtaken: bool = False


async def current(unit: Unit, assembly: Assembly) -> Snapshot | None:
    """The snapshot that the next one takes the place of. What became of it is certain: where it was not, the
    registry was asked.

    Raises
    ------
    XdsError
        The registry gives no answer now.
    """
    for _ in range(_TURNS):
        latest = await latest_snapshot(unit.parts.database, assembly.unique_id)
        if latest is None or not latest.undecided:
            return latest
        provision = await documents.provision_of(unit.parts.database, latest.provision_id)
        if provision is None:
            continue
        outcome = await to_its_end(registration.register(unit, provision))
        if not outcome.final:
            raise _not_registered(assembly, outcome)
    raise XdsError(
        f"document {assembly.unique_id} is being registered; ask again", location=assembly.unique_id
    )


async def registered(
    unit: Unit, assembly: Assembly, manifest: MadeManifest, digest: ContentDigest, before: Snapshot | None
) -> SnapshotOutcome:
    """Register what was made, whose bytes of `digest` are kept, in the place of `before`; the same content is
    one snapshot.

    Raises
    ------
    XdsError
        The registry refuses it, or gives no answer now.
    """
    # Once the provision is committed its outcome must be recorded, even if the consumer hangs up.
    return await to_its_end(_registered(unit, assembly, manifest, digest, before))


async def _registered(
    unit: Unit, assembly: Assembly, manifest: MadeManifest, digest: ContentDigest, before: Snapshot | None
) -> SnapshotOutcome:
    outcome = await _attempted(
        unit, assembly, manifest, digest, before, replaces=before.entry_uuid if before else ""
    )
    if outcome and before and _is_gone(outcome):
        # Somebody else deprecated, replaced, updated or removed the one before: that is left as it is.
        outcome = await _attempted(unit, assembly, manifest, digest, before, replaces="")
    if outcome is None:
        return SnapshotOutcome.OVERTAKEN
    if outcome.response.status is Status.SUCCESS:
        return SnapshotOutcome.REGISTERED
    if _is_gone(outcome):
        _log.warning("snapshot not taken by the registry", document=assembly.unique_id)
        return SnapshotOutcome.NOT_TAKEN
    raise _not_registered(assembly, outcome)


async def _attempted(
    unit: Unit,
    assembly: Assembly,
    manifest: MadeManifest,
    digest: ContentDigest,
    before: Snapshot | None,
    *,
    replaces: str,
) -> RegistrationOutcome | None:
    """What the registry says; None when another snapshot came between."""
    turn = await _begun(unit, assembly, manifest, digest, before, replaces)
    if turn.provision is None:
        return None if turn.overtaken else _REGISTERED
    return await registration.register(unit, turn.provision, first=turn.first)


async def _begun(
    unit: Unit,
    assembly: Assembly,
    manifest: MadeManifest,
    digest: ContentDigest,
    before: Snapshot | None,
    replaces: str,
) -> _Turn:
    [entry] = manifest.submission.document_entries
    provision = _provision(unit, assembly, manifest, digest, replaces)

    async def begin(transaction: Transaction) -> _Turn:
        if not await assemblies.hold_assembly(transaction, assembly.unique_id):
            raise XdsError(f"document {assembly.unique_id} is not available", location=assembly.unique_id)
        latest = await latest_snapshot(transaction, assembly.unique_id)
        if latest is not None and latest.kept and latest.unique_id == entry.unique_id:
            provision_before = await documents.provision_of(transaction, latest.provision_id)
            return _Turn(provision=provision_before if latest.undecided else None)
        if _name(latest) != _name(before):
            return _Turn(overtaken=True)
        await documents.insert_provision(transaction, provision, [(entry, digest)])
        following = Snapshot(
            provision_id=provision.provision_id,
            number=latest.number + 1 if latest else 1,
            unique_id=entry.unique_id,
            entry_uuid=entry.entry_uuid,
        )
        await insert_snapshot(transaction, assembly.unique_id, following)
        return _Turn(provision=provision, first=True)

    async def begun(transaction: Transaction) -> _Turn | None:
        provision_now = await documents.provision_of(transaction, provision.provision_id)
        return _Turn(provision=provision, first=True) if provision_now else None

    try:
        return await unit.write(begin, done=begun)
    except Rejected as error:
        raise XdsError(
            f"document {assembly.unique_id} cannot be kept: {error}", location=assembly.unique_id
        ) from None


def _name(one: Snapshot | None) -> str:
    return one.provision_id if one else ""


def _provision(
    unit: Unit, assembly: Assembly, manifest: MadeManifest, digest: ContentDigest, replaces: str
) -> Provision:
    ours = unit.parts.settings.repository_unique_id
    submission = snapshot(manifest.submission, digest, assembly, repository_unique_id=ours, replaces=replaces)
    registration = encode_submission(submission)
    return Provision(
        provision_id=str(uuid4()),
        message_id=new_uuid(),
        digest=digest_of(registration, {assembly.unique_id: digest}),
        registration_message_id=new_uuid(),
        registration=registration,
    )


def _is_gone(outcome: RegistrationOutcome) -> bool:
    codes = {error.code_for(Actor.REGISTRY) for error in outcome.response.errors}
    return outcome.final and bool(codes) and codes <= _GONE


def _not_registered(assembly: Assembly, outcome: RegistrationOutcome) -> XdsError:
    reason = "; ".join(error.context for error in outcome.response.errors)
    return XdsError(
        f"document {assembly.unique_id} cannot be made now: {reason}", location=assembly.unique_id
    )
