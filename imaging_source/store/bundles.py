"""The FHIR document Bundles that are registered with manifests, each with the publication of its own."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, insert, select, update

from imaging_source.store.publications import NewBundle, PublicationState, publication
from imaging_source.store.tables import published_bundle
from shared.store.engine import Database, Transaction

_INSERT = insert(published_bundle).values(
    {column.name: bindparam(column.name) for column in published_bundle.c}
)
_DOCUMENT = select(published_bundle.c.document).where(
    published_bundle.c.publication_id == bindparam("publication")
)
_OF_STUDY = (
    select(
        published_bundle.c.publication_id,
        published_bundle.c.document_unique_id,
        publication.c.document_unique_id,
        publication.c.patient_id,
        publication.c.state,
    )
    .join(publication, publication.c.publication_id == published_bundle.c.publication_id)
    .where(published_bundle.c.study_instance_uid == bindparam("study"))
    .order_by(publication.c.serial)
)
_CHANGED = (
    update(publication)
    .where(
        publication.c.publication_id == bindparam("publication"),
        publication.c.state == PublicationState.PUBLISHED,
    )
    .values(digest="")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedBundle:
    """A Bundle, and how its manifest stands: the patient for whom that is registered, and its state."""

    publication_id: str
    document_unique_id: str
    manifest_unique_id: str
    patient_id: str
    state: PublicationState


async def keep(
    transaction: Transaction, publication_id: str, study_instance_uid: str, bundle: NewBundle
) -> None:
    """Keep the Bundle of a publication, with it."""
    await transaction.execute(
        _INSERT,
        publication_id=publication_id,
        study_instance_uid=study_instance_uid,
        document_unique_id=bundle.document_unique_id,
        document=bundle.document,
    )


async def find_bundle(database: Database, publication_id: str) -> bytes | None:
    """The Bundle that goes with a manifest; None where it goes alone."""
    rows = await database.fetch(_DOCUMENT, publication=publication_id)
    return bytes(rows[0][0]) if rows else None


async def of_study(database: Database, study_instance_uid: str) -> list[PublishedBundle]:
    """The Bundles of a study, the newest last."""
    return [
        PublishedBundle(
            publication_id=publication_id,
            document_unique_id=unique_id,
            manifest_unique_id=manifest_unique_id,
            patient_id=patient_id,
            state=PublicationState(state),
        )
        for publication_id, unique_id, manifest_unique_id, patient_id, state in await database.fetch(
            _OF_STUDY, study=study_instance_uid
        )
    ]


async def renew(database: Database, publication_id: str) -> None:
    """Let the next manifest of the study be another one, though nothing has changed but its Bundle."""

    async def work(transaction: Transaction) -> None:
        await transaction.execute(_CHANGED, publication=publication_id)

    await database.write(work)
