"""`xdsi audit hold`: what must stay of the trail, whatever retention says."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Annotated, Any

import typer

from audit_repository.settings import AuditRepositorySettings
from shared.http.client import http_client
from xdsi.audit_client import Since, Until, Url, base_of, complete, moment, post
from xdsi.configuration import load
from xdsi.failures import WrongUsage
from xdsi.listing import Column, counted
from xdsi.listing import show as show_list
from xdsi.options import AsJson, Config

app = typer.Typer(help="Legal holds: what must stay of the trail, whatever retention says.")

_COLUMNS = (
    Column("placed"),
    Column("by"),
    Column("patient"),
    Column("study"),
    Column("since"),
    Column("until"),
    Column("reason"),
    Column("released"),
    Column("hold", is_id=True),
)
_FIELDS = ("placed", "placed_by", "patient", "study", "since", "until", "reason", "released", "hold_id")
Reason = Annotated[str, typer.Option(help="Why; it stands in the trail.")]


@app.command()
def add(
    reason: Reason,
    patient: Annotated[str, typer.Option(help="Patient id, bare or as CX.")] = "",
    study: Annotated[str, typer.Option(help="Study Instance UID, or the id of another object.")] = "",
    since: Since = "",
    until: Until = "",
    url: Url = "",
    config: Config = None,
) -> None:
    """Keep records of a patient, a study or a time, until the hold is released.

    All that is criteria must hold of a record; the months in which there is one stay whole.

    Example: [bold]xdsi audit hold add --patient P0001 --reason "case 17 of the court"[/bold]
    """
    settings = load(AuditRepositorySettings, config)
    begin, end = moment(since, "--since"), moment(until, "--until")
    possible = {
        "patient": complete(patient, settings),
        "study": study,
        "since": begin.isoformat() if begin else "",
        "until": end.isoformat() if end else "",
    }
    criteria = {name: value for name, value in possible.items() if value}
    if not criteria:
        raise WrongUsage("give --patient, --study, --since or --until: what must stay")
    hold = _asked(settings, url, "/api/holds/add", {**criteria, "reason": reason})
    typer.echo(hold["hold_id"])
    if hold["given_up"]:
        typer.echo(f"criteria up before, and not there any more: {', '.join(hold['given_up'])}", err=True)


@app.command(name="list")
def all_holds(as_json: AsJson = False, url: Url = "", config: Config = None) -> None:
    """Show all holds, those that were released among them.

    Example: [bold]xdsi audit hold list[/bold]
    """
    holds = _asked(load(AuditRepositorySettings, config), url, "/api/holds", {})["holds"]
    if as_json:
        sys.stdout.write(json.dumps(holds, ensure_ascii=False, indent=1) + "\n")
        return
    typer.echo(counted(len(holds), "hold"))
    show_list(_COLUMNS, (tuple(hold[name] for name in _FIELDS) for hold in holds))


@app.command()
def release(
    hold: Annotated[str, typer.Argument(metavar="HOLD", help="Its id, as the list shows it.")],
    reason: Reason,
    url: Url = "",
    config: Config = None,
) -> None:
    """Let a hold end; what it kept goes when retention comes by.

    Example: [bold]xdsi audit hold release urn:uuid:… --reason "case closed"[/bold]
    """
    settings = load(AuditRepositorySettings, config)
    _asked(settings, url, "/api/holds/release", {"hold_id": hold, "reason": reason})
    typer.echo("released")


def _asked(settings: AuditRepositorySettings, url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    at = base_of(settings, url)

    async def answer() -> dict[str, Any]:
        async with http_client(settings.tls, peers=[at]) as http:
            return await post(http, f"{at}{path}", body)

    return asyncio.run(answer())
