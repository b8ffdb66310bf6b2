"""`xdsi user`: who the people of a community are, at the identity service."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import httpx2
import typer

from identity.settings import IdentitySettings
from shared.http.client import http_client
from shared.http.problem import detail_of
from xdsi.configuration import load
from xdsi.failures import Failed
from xdsi.listing import Column, counted
from xdsi.listing import show as show_list
from xdsi.options import AsJson, Config, Quiet

app = typer.Typer()

_COLUMNS = (
    Column("name", is_id=True),
    Column("roles"),
    Column("organization"),
    Column("logins"),
    Column("state"),
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="What assertions call the person.")]


@app.command()
def add(
    name: Name,
    login: Annotated[
        list[str] | None,
        typer.Option("--login", help="SUBJECT@ISSUER, as ID tokens have them; may be repeated."),
    ] = None,
    role: Annotated[list[str] | None, typer.Option("--role", help="CODE^^SCHEME; may be repeated.")] = None,
    display_name: Annotated[str, typer.Option(help="Name for people.")] = "",
    organization: Annotated[str, typer.Option(help="Name of the organisation.")] = "",
    organization_id: Annotated[
        list[str] | None, typer.Option("--organization-id", help="urn:oid:…; may be repeated.")
    ] = None,
    patient_id: Annotated[str, typer.Option(help="CX of a person who is a patient.")] = "",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Say who a person is, in place of what was said of that name before.

    Example: [bold]xdsi user add dr.roe --login 2440@https://login.example --role RAD-PHYS^^2.999.40.1[/bold]
    """
    content = {
        "name": name,
        "display_name": display_name,
        "roles": role or [],
        "organization": organization,
        "organization_ids": organization_id or [],
        "patient_id": patient_id,
        "logins": list(map(_login, login or [])),
    }
    person = _ask(config, "set", content)
    typer.echo(json.dumps(person, indent=2) if as_json else f"kept {person['name']}")


@app.command(name="list")
def list_people(as_json: AsJson = False, quiet: Quiet = False, config: Config = None) -> None:
    """List everybody.

    Example: [bold]xdsi user list[/bold]
    """
    people = _ask(config, "list", {})["people"]
    if as_json:
        typer.echo(json.dumps(people, indent=2))
    elif quiet:
        for one in people:
            typer.echo(one["name"])
    else:
        typer.echo(counted(len(people), "person", "people"))
        show_list(_COLUMNS, map(_row, people))


@app.command()
def disable(name: Name, as_json: AsJson = False, config: Config = None) -> None:
    """Let a person in no more; what was issued holds until it expires.

    Example: [bold]xdsi user disable dr.roe[/bold]
    """
    answer = _ask(config, "disable", {"name": name})
    typer.echo(json.dumps(answer) if as_json else f"disabled {name}")


@app.command()
def password(
    name: Name,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Give a person a password for the sign-in of the identity service itself, in place of the one before.

    You are asked for it; without a terminal it is the first line of standard input.

    Example: [bold]xdsi user password dr.roe[/bold]
    """
    # What is wrong with the settings is told before anybody types.
    load(IdentitySettings, config)
    answer = _ask(config, "password", {"name": name, "password": _typed()})
    typer.echo(json.dumps(answer) if as_json else f"{name} has a new password")


@app.command(name="app")
def code_app(name: Name, as_json: AsJson = False, config: Config = None) -> None:
    """Make a secret for an app that shows codes (TOTP), and print it this once, in place of the one before.

    Example: [bold]xdsi user app dr.roe[/bold]
    """
    answer = _ask(config, "app", {"name": name})
    typer.echo(json.dumps(answer) if as_json else answer["uri"])


@app.command()
def forget(name: Name, as_json: AsJson = False, config: Config = None) -> None:
    """Forget password, app and passkeys of a person, who signs in here no more until given new ones.

    Example: [bold]xdsi user forget dr.roe[/bold]
    """
    answer = _ask(config, "forget", {"name": name})
    typer.echo(json.dumps(answer) if as_json else f"forgot what {name} signs in with")


def _typed() -> str:
    """A password from the terminal, or the first line of standard input."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    try:
        return sys.stdin.readline().rstrip("\n")
    except OSError:
        raise Failed("no password can be read; type it at a terminal, or send it as a line") from None


def _login(text: str) -> dict[str, str]:
    subject, at, issuer = text.partition("@http")
    if not at:
        raise typer.BadParameter("write SUBJECT@https://issuer", param_hint="--login")
    return {"subject": subject, "issuer": f"http{issuer}"}


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        one["name"],
        ", ".join(one["roles"]),
        one["organization"],
        ", ".join(f"{each['subject']}@{each['issuer']}" for each in one["logins"]),
        "disabled" if one["disabled"] else "",
    )


def _ask(config: Any, what: str, content: Mapping[str, Any]) -> Any:
    settings = load(IdentitySettings, config)
    try:
        return asyncio.run(_answer(settings, what, content))
    except httpx2.HTTPError as error:
        raise Failed(
            f"the identity service at {settings.endpoint} cannot be reached ({type(error).__name__}); "
            "start it by xdsi serve identity"
        ) from None


async def _answer(settings: IdentitySettings, what: str, content: Mapping[str, Any]) -> Any:
    async with http_client(settings.tls, peers=(settings.endpoint,)) as http:
        answer = await http.post(f"{settings.endpoint}/people/{what}", json=content)
    if answer.status_code != httpx2.codes.OK:
        raise Failed(f"the identity service refused: {detail_of(answer.content)}")
    return answer.json()
