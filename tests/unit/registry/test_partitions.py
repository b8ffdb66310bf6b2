"""In PostgreSQL the tables of objects are divided by patient, and a query reads the part that it must."""

import json
from dataclasses import replace

import pytest

from registry.domain import stored_queries as queries
from registry.domain.stored_queries import criteria_of
from registry.store import document_entries, filters
from registry.store.partitions import PARTITIONS
from registry.transactions import iti62
from shared.ebrim.identifiers import new_uuid
from shared.ebrim.model import AssociationType
from shared.messages.iti18 import encode_parameters
from shared.messages.iti62 import RemoveMetadataRequest
from shared.store.postgresql import PostgresTransaction
from shared.store.statements import arrays_of, insert_arrays, insertion_when
from tests.support.databases import DatabasePlace
from tests.support.metadata import (
    CT,
    PATIENT,
    a_document_entry,
    a_folder,
    a_submission,
    an_association,
)
from tests.support.registry import APPROVED, Registry, open_parts
from tests.support.updates import a_version, new_version, update

DIVIDED = ("registry_object", "object_value")
T = AssociationType

#: Other patients' objects, so many that no partition is read whole where an index leads to what is wanted.
CROWD = (
    """
    INSERT INTO registry_object (patient_id, entry_uuid, object_class, status, unique_id, logical_id, version,
      class_code, metadata_level, encoding_version, fragment)
    SELECT 'CROWD-' || p, 'urn:uuid:entry-' || p || '-' || n, 'DocumentEntry', $1::text,
      'unique-' || p || '-' || n, 'urn:uuid:entry-' || p || '-' || n, 1, 'class-' || n, 1, 1, 'fragment'
    FROM generate_series(1, 160) AS p, generate_series(1, 100) AS n
    """,
    """
    INSERT INTO registry_object (patient_id, entry_uuid, object_class, status, association_type,
      source_object, target_object, metadata_level, encoding_version, fragment)
    SELECT 'CROWD-' || p, 'urn:uuid:association-' || p || '-' || n, 'Association', $1::text, 'HasMember',
      'urn:uuid:set-' || p, 'urn:uuid:entry-' || p || '-' || n, 1, 1, 'fragment'
    FROM generate_series(1, 160) AS p, generate_series(1, 100) AS n
    """,
    """
    INSERT INTO object_value (patient_id, entry_uuid, attribute, value)
    SELECT patient_id, entry_uuid, 'eventCodeList', 'code-' || class_code
    FROM registry_object WHERE class_code IS NOT NULL
    """,
    """
    INSERT INTO identifier (identifier, object_class, patient_id)
    SELECT entry_uuid, object_class, patient_id FROM registry_object
    UNION ALL SELECT unique_id, object_class, patient_id FROM registry_object WHERE unique_id IS NOT NULL
    """,
    """
    INSERT INTO shared_identifier (identifier, patient_id)
    SELECT unique_id, 'CROWD-0' FROM registry_object WHERE unique_id IS NOT NULL
    """,
    "ANALYZE registry_object",
    "ANALYZE object_value",
    "ANALYZE identifier",
    "ANALYZE shared_identifier",
)


@pytest.fixture
async def registry(postgres_url, tmp_path):
    """A registry in PostgreSQL with a crowd of patients, and one that is asked for."""
    place = DatabasePlace(url=postgres_url, folder=tmp_path / "database", name=f"test_{tmp_path.name}")
    registry = Registry(await open_parts(place))

    async with registry.parts.database._pool.acquire() as connection:
        for statement in CROWD:
            await connection.execute(statement, *([APPROVED] if "$1" in statement else []))
    await registry.add_patient(PATIENT)
    yield registry
    await registry.parts.recorder.close()
    await registry.parts.database.close()


async def rows(registry, statement, *arguments):
    async with registry.parts.database._pool.acquire() as connection:
        return [tuple(row) for row in await connection.fetch(statement, *arguments)]


def nodes(plan):
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


async def plan_of(registry, statement, arguments):
    """The plan for these values."""
    ((plan,),) = await rows(registry, f"EXPLAIN (FORMAT JSON) {statement}", *arguments)
    return list(nodes(json.loads(plan)[0]["Plan"]))


async def kept_plan_of(registry, statement, arguments):
    """The plan for all values, which a connection of the registry keeps."""
    async with registry.parts.database._pool.acquire() as connection:
        await connection.execute(f"PREPARE kept AS {statement}")
        literals = ", ".join(map(literal, arguments))
        plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE kept ({literals})")
        await connection.execute("DEALLOCATE kept")
    return list(nodes(json.loads(plan)[0]["Plan"]))


def literal(value):
    if value is None:
        return "NULL"
    return "'" + spelled(value).replace("'", "''") + "'"


def spelled(value):
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, list):
        return f"{{{', '.join(map(element, value))}}}"
    return str(value)


def element(value):
    if value is None:
        return "NULL"
    return '"' + spelled(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def parts_of(plan, table):
    return {name for node in plan if (name := node.get("Relation Name", "")).startswith(f"{table}_")}


def find_documents():
    parameters = {
        "$XDSDocumentEntryPatientId": PATIENT,
        "$XDSDocumentEntryStatus": [APPROVED],
        "$XDSDocumentEntryEventCodeList": [CT],
    }
    criteria = criteria_of(queries.FIND_DOCUMENTS.query_id, encode_parameters(parameters))
    entry_filters = document_entries.FILTERS
    statement = document_entries._find(filters.signature(criteria, entry_filters), leaf=True)
    return statement, {
        "patient": PATIENT,
        "most": 100,
        "level": 1,
        **filters.bound(criteria, entry_filters),
    }


async def test_the_tables_of_objects_have_their_partitions(registry):
    for table in DIVIDED:
        parts = await rows(registry, "SELECT inhrelid FROM pg_inherits WHERE inhparent = $1::regclass", table)
        assert len(parts) == PARTITIONS


async def test_objects_are_spread_over_the_partitions(registry):
    parts = await rows(registry, "SELECT DISTINCT tableoid FROM registry_object")
    assert len(parts) == PARTITIONS


async def test_the_patient_stands_first_in_every_unique_key(registry):
    keys = await rows(
        registry,
        """
        SELECT indrelid::regclass::text, attname FROM pg_index
        JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
        WHERE indisunique AND indrelid IN ('registry_object'::regclass, 'object_value'::regclass)
        """,
    )
    assert sorted(keys) == [
        ("object_value", "patient_id"),
        *[("registry_object", "patient_id")] * 3,
    ]


async def test_find_documents_reads_one_partition_of_each_table(registry):
    statement, given = find_documents()
    compiled = registry.parts.database._statements.compiled(statement)
    plan = await plan_of(registry, compiled.text, compiled.arguments(given))
    for table in DIVIDED:
        assert len(parts_of(plan, table)) == 1
    assert not [
        node for node in plan if node["Node Type"] == "Seq Scan" and parts_of([node], "registry_object")
    ]


async def test_find_documents_reads_one_partition_by_a_plan_that_is_kept(registry):
    statement, given = find_documents()
    compiled = registry.parts.database._statements.compiled(statement)
    found = await kept_plan_of(registry, compiled.text, compiled.arguments(given))
    assert not [
        node for node in found if node["Node Type"] == "Seq Scan" and parts_of([node], "registry_object")
    ]
    assert len(parts_of(found, "registry_object")) == 1
    assert PARTITIONS - 1 in [node.get("Subplans Removed") for node in found]


class World:
    """A document in a folder, and what replaced another."""

    def __init__(self):
        self.document, self.old, self.new = (a_document_entry() for _ in range(3))
        self.folder = a_folder()
        self.first = a_submission(self.document, self.old, folders=[self.folder])
        membership = an_association(self.folder.entry_uuid, self.document.entry_uuid)
        collected = an_association(self.first.submission_set.entry_uuid, membership.entry_uuid)
        associations = (*self.first.associations, membership, collected)
        self.first = replace(self.first, associations=associations)
        self.relationship = an_association(self.new.entry_uuid, self.old.entry_uuid, T.RPLC)
        self.second = a_submission(self.new, associations=[self.relationship])

    def asked(self):
        document = {"$XDSDocumentEntryEntryUUID": [self.document.entry_uuid]}
        unique = {"$XDSDocumentEntryUniqueId": [self.document.unique_id]}
        submission_set = self.first.submission_set
        yield queries.GET_DOCUMENTS, document
        yield queries.GET_DOCUMENTS, unique
        by_logical_id = {"$XDSDocumentEntryLogicalID": [self.document.entry_uuid], "$MetadataLevel": 2}
        yield queries.GET_DOCUMENTS, by_logical_id
        yield queries.GET_FOLDERS, {"$XDSFolderEntryUUID": [self.folder.entry_uuid]}
        yield queries.GET_FOLDERS, {"$XDSFolderUniqueId": [self.folder.unique_id]}
        yield queries.GET_ASSOCIATIONS, {"$uuid": [self.document.entry_uuid]}
        yield queries.GET_DOCUMENTS_AND_ASSOCIATIONS, unique
        yield queries.GET_SUBMISSION_SETS, {"$uuid": [self.document.entry_uuid]}
        by_id = {"$XDSSubmissionSetEntryUUID": submission_set.entry_uuid}
        yield queries.GET_SUBMISSION_SET_AND_CONTENTS, by_id
        by_unique_id = {"$XDSSubmissionSetUniqueId": submission_set.unique_id}
        yield queries.GET_SUBMISSION_SET_AND_CONTENTS, by_unique_id
        yield queries.GET_FOLDER_AND_CONTENTS, {"$XDSFolderUniqueId": self.folder.unique_id}
        yield queries.GET_FOLDERS_FOR_DOCUMENT, {"$XDSDocumentEntryUniqueId": self.document.unique_id}
        yield (
            queries.GET_RELATED_DOCUMENTS,
            {"$XDSDocumentEntryEntryUUID": self.new.entry_uuid, "$AssociationTypes": [T.RPLC]},
        )


@pytest.fixture
def carried_out(monkeypatch):
    """The statements that are carried out, with their arguments and what tells their plan."""
    statements = []

    def record(transaction, statement, parameters):
        compiled = transaction._statements.compiled(statement)
        plan = plan_of if transaction._connection.is_in_transaction() else kept_plan_of
        statements.append((compiled.text, compiled.arguments(parameters), plan))

    class Recording(PostgresTransaction):
        async def fetch(self, statement, /, **parameters):
            record(self, statement, parameters)
            return await super().fetch(statement, **parameters)

        async def execute(self, statement, /, **parameters):
            record(self, statement, parameters)
            return await super().execute(statement, **parameters)

        async def execute_many(self, statement, rows):
            if rows:
                record(self, statement, rows[0])
            await super().execute_many(statement, rows)

        async def finish(self):
            if self._inserts:
                arrays = list(arrays_of(self._inserts.items()))
                statements.append((insert_arrays(tuple(self._inserts)), arrays, plan_of))
            await super().finish()

    def recorded(*parts):
        text, arguments = insertion_when(*parts)
        statements.append((text, arguments, kept_plan_of))
        return text, arguments

    monkeypatch.setattr("shared.store.postgresql.insertion_when", recorded)
    monkeypatch.setattr("shared.store.postgresql.PostgresTransaction", Recording)
    return statements


async def assert_each_reads_by_an_index(registry, statements):
    assert statements
    for statement, arguments, plan_it in statements:
        plan = await plan_it(registry, statement, arguments)
        large = [
            node["Relation Name"]
            for node in plan
            if node["Node Type"] == "Seq Scan"
            and node["Relation Name"].startswith((*DIVIDED, "identifier", "shared_identifier"))
        ]
        assert not large, statement
        for table in DIVIDED:
            read = parts_of([node for node in plan if "Scan" in node["Node Type"]], table)
            assert len(read) <= 1, statement


async def test_every_query_by_id_reads_by_an_index_and_one_partition(registry, carried_out):
    world = World()
    await registry.register(world.first)
    await registry.register(world.second)
    carried_out.clear()
    for query, parameters in world.asked():
        assert await registry.query(query, parameters)
    await assert_each_reads_by_an_index(registry, list(carried_out))


async def test_every_change_reads_by_an_index_and_one_partition(registry, carried_out):
    world = World()
    await registry.register(world.first)
    await registry.register(world.second)
    await update(registry, a_version(new_version(world.document, title="second")))
    going = (*world.second.document_entries, *world.second.associations, world.second.submission_set)
    request = RemoveMetadataRequest(ids=tuple(sorted(thing.entry_uuid for thing in going)))
    await registry.perform(iti62.SERVED, request)
    await assert_each_reads_by_an_index(registry, list(carried_out))


async def test_a_submission_of_new_things_is_one_statement(registry, carried_out):
    await registry.register(a_submission(a_document_entry(), folders=[a_folder()]), message_id="urn:uuid:1")
    assert len(carried_out) == 1
    await assert_each_reads_by_an_index(registry, carried_out)


async def test_a_document_that_comes_again_takes_six_statements(registry, carried_out):
    """The one that finds it taken; the retry, the patient, the identifiers, what is known of the document,
    whom it leads to; then objects, values and event in one.
    """
    entry = a_document_entry()
    await registry.register(a_submission(entry), message_id="urn:uuid:1")
    carried_out.clear()
    again = replace(entry, entry_uuid=new_uuid())
    await registry.register(a_submission(again), message_id="urn:uuid:2")
    assert len(carried_out) == 7
    await assert_each_reads_by_an_index(registry, carried_out)
