"""Multi-Patient Stored Query [ITI-51]: expected actions (ITI TF-2 3.51.4.1.3)."""

from __future__ import annotations

from registry.domain.multi_patient_queries import MULTI_PATIENT_QUERIES
from registry.domain.stored_queries import criteria_of
from registry.transactions.iti18 import answer, is_leaf, patients_of, query_events, select
from registry.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.errors import QueryError
from shared.messages.iti18 import StoredQueryRequest, StoredQueryResponse
from shared.messages.iti51 import ITI51
from shared.security.caller import Caller
from shared.soap.served import Served

#: Patients that one query may name: each of them has an audit event of its own.
MAX_PATIENTS = 100


async def handle(unit: Unit, request: StoredQueryRequest) -> StoredQueryResponse:
    """Answer one multi-patient query with the objects that consent lets the caller see, each by itself.

    Raises
    ------
    UnknownStoredQuery
        The query id is not of this transaction.
    Rejected
        Parameters are absent, repeated or malformed; every mistake at once.
    QueryError
        More than `MAX_PATIENTS` patients are named.
    TooManyResults
        The answer would exceed its limit.
    """
    leaf = is_leaf(request.return_type)
    criteria = criteria_of(
        request.query_id,
        request.parameters,
        queries=MULTI_PATIENT_QUERIES,
        metadata_update=unit.parts.settings.metadata_update,
    )
    if (number := len(patients_of(request))) > MAX_PATIENTS:
        raise QueryError(f"{number} patients in one query; name at most {MAX_PATIENTS}")
    result, fragments = await select(unit, criteria, leaf)
    return await answer(unit, result, fragments, leaf)


def audit(
    request: StoredQueryRequest, response: StoredQueryResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the query (ITI TF-2 3.51.5): once for each patient that it names, once when it names none.

    One that names too many is refused, and described once: its parameters name them.
    """
    patients = patients_of(request)
    if not patients or len(patients) > MAX_PATIENTS:
        patients = [""]
    return query_events(ITI51, request, response, caller, outcome, patients)


SERVED = Served(ITI51, handle, audit)
