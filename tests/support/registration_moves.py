"""What happens to provisions, as the database of a repository itself notes it: every change of a state, from
whichever statement it comes. None of them may be without its line in the table of the state machine."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from repository.domain.provision import ProvisionState
from repository.domain.registration import REGISTRATION
from shared.store.engine import Database, Transaction
from shared.store.statements import SQLITE
from tests.support.databases import DatabasePlace

Move = tuple[ProvisionState | None, ProvisionState | None]

#: What the table allows.
ALLOWED: frozenset[Move] = frozenset(
    (source, transition.target) for transition in REGISTRATION.values() for source in transition.sources
)

_TABLE = "CREATE TABLE registration_move (provision_id TEXT, before TEXT, after TEXT)"
_ON_SQLITE = tuple(
    f"CREATE TRIGGER registration_move_{name} AFTER {event} ON provision BEGIN "
    f"INSERT INTO registration_move VALUES ({of}.provision_id, {before}, {after}); END"
    for name, event, of, before, after in (
        ("inserted", "INSERT", "NEW", "NULL", "NEW.state"),
        ("updated", "UPDATE OF state", "NEW", "OLD.state", "NEW.state"),
        ("deleted", "DELETE", "OLD", "OLD.state", "NULL"),
    )
)
_ON_POSTGRESQL = (
    "CREATE FUNCTION registration_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "INSERT INTO registration_move VALUES "
    "(COALESCE(NEW.provision_id, OLD.provision_id), OLD.state, NEW.state); RETURN NULL; END $$",
    "CREATE TRIGGER registration_moved AFTER INSERT OR DELETE OR UPDATE OF state ON provision "
    "FOR EACH ROW EXECUTE FUNCTION registration_moved()",
)


async def note_moves(place: DatabasePlace, database: Database) -> None:
    """Have the database note every change of the state of a provision from now on."""
    if database.dialect != SQLITE:
        await place.execute((_TABLE, *_ON_POSTGRESQL))
        return

    async def work(transaction: Transaction) -> None:
        for statement in (_TABLE, *_ON_SQLITE):
            await transaction.execute(text(statement))

    await database.write(work)


async def moves(database: Database) -> set[Move]:
    """What was noted."""
    rows = await database.fetch(text("SELECT DISTINCT before, after FROM registration_move"))
    return {(_state(before), _state(after)) for before, after in rows}


def _state(name: Any) -> ProvisionState | None:
    return None if name is None else ProvisionState(name)
