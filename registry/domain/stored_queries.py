"""The stored queries: their ids, their parameters, and what each requires (ITI TF-2 3.18.4.1.2.3.7).

A query is data; one reader serves them all. Parameters that a query does not know are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from shared.ebrim import schemes
from shared.ebrim.identifiers import CX, CXi
from shared.ebrim.model import AvailabilityStatus
from shared.ebrim.query_values import ValueKind, parse_clause
from shared.errors import (
    QueryError,
    Rejected,
    StoredQueryMissingParam,
    StoredQueryParamNumber,
    UnknownStoredQuery,
    XdsError,
)

#: Slots of one name in a request; each is one more condition of the statement.
MAX_CLAUSES = 32

#: The alternatives of each Slot of one name.
Clauses = tuple[tuple[str, ...], ...]


class Need(Enum):
    """Whether a query wants a parameter."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    ONE_OF = "exactly one of those that are so marked"
    AT_LEAST_ONE = "one or more of those that are so marked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter; `conjunctive` ones may come in several Slots, which then must all be met.

    Those of `level` 2 belong to Metadata Update and to a query at metadata level 2; `at_any_level` are values
    that tell what level 1 shows anyway, so that it may be asked for them.
    """

    name: str
    kind: ValueKind
    need: Need = Need.OPTIONAL
    single: bool = False
    conjunctive: bool = False
    level: int = 1
    at_any_level: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class StoredQuery:
    """One stored query and its parameters; each is there once, and equal to itself alone."""

    query_id: str
    name: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """What of the registry a query looks at.

    Metadata level 1 hides old versions, Offline documents and Deprecated folders; 2 hides none of them.
    Associations are looked at by their status, by default only Approved ones.
    """

    level: int = 1
    association_statuses: tuple[str, ...] = (str(AvailabilityStatus.APPROVED),)


@dataclass(frozen=True, slots=True)
class Criteria:
    """What one request asks; only parameters that were given, their values in the registry's spelling."""

    query: StoredQuery
    clauses: Mapping[str, Clauses]
    level: int = 1

    def values(self, name: str) -> tuple[str, ...]:
        """The alternatives of a parameter of one Slot; empty when it was not given."""
        clauses = self.clauses.get(name)
        return clauses[0] if clauses else ()

    def value(self, name: str) -> str:
        """The value of a single parameter; empty when it was not given."""
        return "".join(self.values(name)[:1])

    @property
    def shown(self) -> Shown:
        """What the query looks at."""
        statuses = self.values(ASSOCIATION_STATUS)
        return Shown(self.level, statuses) if statuses else Shown(self.level)


def _one(name: str, kind: ValueKind, need: Need = Need.OPTIONAL) -> Parameter:
    return Parameter(name=name, kind=kind, need=need, single=True)


def _many(name: str, kind: ValueKind, need: Need = Need.OPTIONAL) -> Parameter:
    return Parameter(name=name, kind=kind, need=need)


def _all_of(name: str, kind: ValueKind, need: Need = Need.OPTIONAL) -> Parameter:
    return Parameter(name=name, kind=kind, need=need, conjunctive=True)


def _level_2(name: str, kind: ValueKind, need: Need = Need.OPTIONAL) -> Parameter:
    return Parameter(name=name, kind=kind, need=need, level=2)


# --- the table (ITI TF-2 tables 3.18.4.1.2.3.7.x) -----------------------------------------------------

_R, _G = Need.REQUIRED, Need.ONE_OF
_DE, _SS, _FD = "$XDSDocumentEntry", "$XDSSubmissionSet", "$XDSFolder"

#: Every query has it; the others of Metadata Update stand with their queries.
METADATA_LEVEL = _one("$MetadataLevel", ValueKind.NUMBER)
ASSOCIATION_STATUS = "$XDSAssociationStatus"
_ASSOCIATION_STATUS = _level_2(ASSOCIATION_STATUS, ValueKind.STATUS)
_AVAILABILITY = replace(
    _level_2(f"{_DE}DocumentAvailability", ValueKind.AVAILABILITY), at_any_level=frozenset({schemes.ONLINE})
)

_FORMAT = _many(f"{_DE}FormatCode", ValueKind.CODE)
_CONFIDENTIALITY = _all_of(f"{_DE}ConfidentialityCode", ValueKind.CODE)
_TYPE = _many(f"{_DE}Type", ValueKind.TYPE)
_CONTENT_FILTERS = (_FORMAT, _CONFIDENTIALITY, _TYPE)

_FIND_DOCUMENTS = (
    _one(f"{_DE}PatientId", ValueKind.CX, _R),
    _many(f"{_DE}ClassCode", ValueKind.CODE),
    _many(f"{_DE}TypeCode", ValueKind.CODE),
    _many(f"{_DE}PracticeSettingCode", ValueKind.CODE),
    _one(f"{_DE}CreationTimeFrom", ValueKind.TIME),
    _one(f"{_DE}CreationTimeTo", ValueKind.TIME),
    _one(f"{_DE}ServiceStartTimeFrom", ValueKind.TIME),
    _one(f"{_DE}ServiceStartTimeTo", ValueKind.TIME),
    _one(f"{_DE}ServiceStopTimeFrom", ValueKind.TIME),
    _one(f"{_DE}ServiceStopTimeTo", ValueKind.TIME),
    _many(f"{_DE}HealthcareFacilityTypeCode", ValueKind.CODE),
    _all_of(f"{_DE}EventCodeList", ValueKind.CODE),
    _CONFIDENTIALITY,
    _many(f"{_DE}AuthorPerson", ValueKind.LIKE),
    _FORMAT,
    _many(f"{_DE}Status", ValueKind.STATUS, _R),
    _TYPE,
)
_A_DOCUMENT = (_one(f"{_DE}EntryUUID", ValueKind.UUID, _G), _one(f"{_DE}UniqueId", ValueKind.UNIQUE_ID, _G))
_DOCUMENTS = (_many(f"{_DE}EntryUUID", ValueKind.UUID, _G), _many(f"{_DE}UniqueId", ValueKind.UNIQUE_ID, _G))

FIND_DOCUMENTS = StoredQuery(
    "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d", "FindDocuments", (*_FIND_DOCUMENTS, _AVAILABILITY)
)
FIND_DOCUMENTS_BY_REFERENCE_ID = StoredQuery(
    "urn:uuid:12941a89-e02e-4be5-967c-ce4bfc8fe492",
    "FindDocumentsByReferenceId",
    (*_FIND_DOCUMENTS, _all_of(f"{_DE}ReferenceIdList", ValueKind.REFERENCE_ID, _R)),
)
FIND_SUBMISSION_SETS = StoredQuery(
    "urn:uuid:f26abbcb-ac74-4422-8a30-edb644bbc1a9",
    "FindSubmissionSets",
    (
        _one(f"{_SS}PatientId", ValueKind.CX, _R),
        _many(f"{_SS}SourceId", ValueKind.OID),
        _one(f"{_SS}SubmissionTimeFrom", ValueKind.TIME),
        _one(f"{_SS}SubmissionTimeTo", ValueKind.TIME),
        _one(f"{_SS}AuthorPerson", ValueKind.LIKE),
        _many(f"{_SS}ContentType", ValueKind.CODE),
        _many(f"{_SS}Status", ValueKind.STATUS, _R),
    ),
)
FIND_FOLDERS = StoredQuery(
    "urn:uuid:958f3006-baad-4929-a4de-ff1114824431",
    "FindFolders",
    (
        _one(f"{_FD}PatientId", ValueKind.CX, _R),
        _one(f"{_FD}LastUpdateTimeFrom", ValueKind.TIME),
        _one(f"{_FD}LastUpdateTimeTo", ValueKind.TIME),
        _all_of(f"{_FD}CodeList", ValueKind.CODE),
        _many(f"{_FD}Status", ValueKind.STATUS, _R),
    ),
)
GET_ALL = StoredQuery(
    "urn:uuid:10b545ea-725c-446d-9b95-8aeb444eddf3",
    "GetAll",
    (
        _one("$patientId", ValueKind.CX, _R),
        _many(f"{_DE}Status", ValueKind.STATUS, _R),
        _many(f"{_SS}Status", ValueKind.STATUS, _R),
        _many(f"{_FD}Status", ValueKind.STATUS, _R),
        *_CONTENT_FILTERS,
        _AVAILABILITY,
        _ASSOCIATION_STATUS,
    ),
)
GET_DOCUMENTS = StoredQuery(
    "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4",
    "GetDocuments",
    (*_DOCUMENTS, _level_2(f"{_DE}LogicalID", ValueKind.UUID, _G)),
)
GET_FOLDERS = StoredQuery(
    "urn:uuid:5737b14c-8a1a-4539-b659-e03a34a5e1e4",
    "GetFolders",
    (
        _many(f"{_FD}EntryUUID", ValueKind.UUID, _G),
        _many(f"{_FD}UniqueId", ValueKind.UNIQUE_ID, _G),
        _level_2(f"{_FD}LogicalID", ValueKind.UUID, _G),
    ),
)
GET_ASSOCIATIONS = StoredQuery(
    "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155",
    "GetAssociations",
    (_many("$uuid", ValueKind.UUID, _R), _ASSOCIATION_STATUS),
)
GET_DOCUMENTS_AND_ASSOCIATIONS = StoredQuery(
    "urn:uuid:bab9529a-4a10-40b3-a01f-f68a615d247a",
    "GetDocumentsAndAssociations",
    (*_DOCUMENTS, _ASSOCIATION_STATUS),
)
GET_SUBMISSION_SETS = StoredQuery(
    "urn:uuid:51224314-5390-4169-9b91-b1980040715a",
    "GetSubmissionSets",
    (_many("$uuid", ValueKind.UUID, _R), _ASSOCIATION_STATUS),
)
GET_SUBMISSION_SET_AND_CONTENTS = StoredQuery(
    "urn:uuid:e8e3cb2c-e39c-46b9-99e4-c12f57260b83",
    "GetSubmissionSetAndContents",
    (
        _one(f"{_SS}EntryUUID", ValueKind.UUID, _G),
        _one(f"{_SS}UniqueId", ValueKind.UNIQUE_ID, _G),
        *_CONTENT_FILTERS,
        _ASSOCIATION_STATUS,
    ),
)
GET_FOLDER_AND_CONTENTS = StoredQuery(
    "urn:uuid:b909a503-523d-4517-8acf-8e5834dfc4c7",
    "GetFolderAndContents",
    (
        _one(f"{_FD}EntryUUID", ValueKind.UUID, _G),
        _one(f"{_FD}UniqueId", ValueKind.UNIQUE_ID, _G),
        *_CONTENT_FILTERS,
        _ASSOCIATION_STATUS,
    ),
)
GET_FOLDERS_FOR_DOCUMENT = StoredQuery(
    "urn:uuid:10cae35a-c7f9-4cf5-b61e-fc3278ffb578",
    "GetFoldersForDocument",
    (*_A_DOCUMENT, _ASSOCIATION_STATUS),
)
GET_RELATED_DOCUMENTS = StoredQuery(
    "urn:uuid:d90e5407-b356-4d91-a89f-873917b4b0e6",
    "GetRelatedDocuments",
    (*_A_DOCUMENT, _many("$AssociationTypes", ValueKind.ASSOCIATION, _R), _TYPE, _ASSOCIATION_STATUS),
)

STORED_QUERIES: Mapping[str, StoredQuery] = {
    query.query_id: query
    for query in (
        FIND_DOCUMENTS,
        FIND_DOCUMENTS_BY_REFERENCE_ID,
        FIND_SUBMISSION_SETS,
        FIND_FOLDERS,
        GET_ALL,
        GET_DOCUMENTS,
        GET_FOLDERS,
        GET_ASSOCIATIONS,
        GET_DOCUMENTS_AND_ASSOCIATIONS,
        GET_SUBMISSION_SETS,
        GET_SUBMISSION_SET_AND_CONTENTS,
        GET_FOLDER_AND_CONTENTS,
        GET_FOLDERS_FOR_DOCUMENT,
        GET_RELATED_DOCUMENTS,
    )
}

#: The parameters that name a patient, for the audit event.
PATIENT_PARAMETERS = (f"{_DE}PatientId", f"{_SS}PatientId", f"{_FD}PatientId", "$patientId")


# --- reading a request --------------------------------------------------------------------------------


def criteria_of(
    query_id: str,
    parameters: Mapping[str, Clauses],
    *,
    queries: Mapping[str, StoredQuery] = STORED_QUERIES,
    metadata_update: bool = True,
) -> Criteria:
    """Read a request's id and parameters as on the wire; without `metadata_update` those of it are unknown.

    `queries` are those of the transaction.

    Raises
    ------
    UnknownStoredQuery
        The id is of no query of this transaction.
    Rejected
        With every mistake in the parameters.
    """
    query = queries.get(query_id.strip().lower())
    if query is None:
        raise UnknownStoredQuery(f"the stored query {query_id[:80]} is not known to this transaction")
    errors: list[XdsError] = []
    clauses: dict[str, Clauses] = {}
    level = _level(parameters, errors) if metadata_update else 1
    needs = _needs(query, metadata_update)
    for parameter in needs.parameters:
        sent = parameters.get(parameter.name)
        if not sent and parameter.need is not Need.REQUIRED:
            continue
        try:
            clauses[parameter.name] = _read(parameter, sent or (), level)
        except QueryError as error:
            errors.append(error)
    errors.extend(_one_of(needs.one_of, parameters, level))
    errors.extend(_at_least_one(needs.at_least_one, parameters))
    if errors:
        raise Rejected(*errors)
    return Criteria(query, clauses, level)


def _level(parameters: Mapping[str, Clauses], errors: list[XdsError]) -> int:
    sent = parameters.get(METADATA_LEVEL.name)
    if not sent:
        return 1
    try:
        ((value,),) = _read(METADATA_LEVEL, sent, 1)
        if value not in ("1", "2"):
            raise QueryError(f"{METADATA_LEVEL.name} is 1 or 2; it was {value}")
    except QueryError as error:
        errors.append(error)
        return 2  # what else is wrong is wrong at any level
    return int(value)


def _read(parameter: Parameter, sent: Clauses, level: int) -> Clauses:
    if not sent:
        raise _missing(parameter)
    belongs = f"{parameter.name} belongs to {METADATA_LEVEL.name} {parameter.level}; give that too"
    if parameter.level > level and not parameter.at_any_level:
        raise QueryError(belongs)
    if len(sent) > 1 and not parameter.conjunctive:
        raise _repeated(parameter)
    if len(sent) > MAX_CLAUSES:
        raise QueryError(f"{parameter.name}: more than {MAX_CLAUSES} Slots; ask for less at once")
    clauses = tuple(_clause(parameter, values) for values in sent)
    if parameter.single and any(len(values) > 1 for values in clauses):
        raise StoredQueryParamNumber(f"{parameter.name} takes one value; several were given")
    if parameter.level > level and not parameter.at_any_level.issuperset(chain.from_iterable(clauses)):
        raise QueryError(belongs)
    return clauses


_STATUSES = frozenset(map(str, AvailabilityStatus))


def _clause(parameter: Parameter, sent: tuple[str, ...]) -> tuple[str, ...]:
    try:
        values = parse_clause(sent, parameter.kind)
    except QueryError as error:
        raise type(error)(f"{parameter.name}: {error.context}") from None
    if not values:
        if parameter.need is Need.REQUIRED:
            raise _missing(parameter)
        raise QueryError(f"{parameter.name}: the list is empty; leave the parameter out instead")
    clause_values = tuple(
        _spelled(parameter.kind, value) for value in values if _is_known(parameter.kind, value)
    )
    if not clause_values:
        raise _missing(parameter)
    return clause_values


def _is_known(kind: ValueKind, value: str) -> bool:
    # Unknown status values are dropped; a parameter that is left with none counts as absent.
    return kind is not ValueKind.STATUS or value in _STATUSES


def _spelled(kind: ValueKind, value: str) -> str:
    if kind is ValueKind.CX:
        return str(CX.parse(value))
    if kind is ValueKind.REFERENCE_ID:
        return str(CXi.parse(value))
    return value


def _repeated(parameter: Parameter) -> QueryError:
    if parameter.single:
        return StoredQueryParamNumber(f"{parameter.name} takes one value; it was given in several Slots")
    return QueryError(f"{parameter.name} cannot be repeated; put its values into one list")


def _missing(parameter: Parameter) -> StoredQueryMissingParam:
    return StoredQueryMissingParam(parameter.name)


class _Needs(NamedTuple):
    """The parameters of a query, and those of them of which one, or one or more, must be there."""

    parameters: tuple[Parameter, ...]
    one_of: tuple[Parameter, ...]
    at_least_one: tuple[Parameter, ...]


@lru_cache(maxsize=64)
def _needs(query: StoredQuery, metadata_update: bool) -> _Needs:
    parameters = tuple(each for each in query.parameters if each.level == 1 or metadata_update)
    one_of, at_least_one = (
        tuple(each for each in parameters if each.need is need) for need in (Need.ONE_OF, Need.AT_LEAST_ONE)
    )
    return _Needs(parameters, one_of, at_least_one)


def _one_of(group: Sequence[Parameter], sent: Mapping[str, Clauses], level: int) -> Iterator[QueryError]:
    names_sent = [parameter.name for parameter in group if sent.get(parameter.name)]
    if group and not names_sent:
        names = [parameter.name for parameter in group if parameter.level <= level]
        yield StoredQueryMissingParam(f"one of {' or '.join(names)}")
    if len(names_sent) > 1:
        yield StoredQueryParamNumber(f"{' and '.join(names_sent)} exclude each other; give one of them")


def _at_least_one(group: Sequence[Parameter], sent: Mapping[str, Clauses]) -> Iterator[QueryError]:
    names = [parameter.name for parameter in group]
    if names and not any(sent.get(name) for name in names):
        yield StoredQueryMissingParam(f"one or more of {', '.join(names)}")
