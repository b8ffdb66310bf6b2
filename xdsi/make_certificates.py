"""`xdsi certificates`: certificates for trying out, and the settings that use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from shared.security.peer_certificate import fingerprint_of
from xdsi.certificates import HOSTS, PASSWORD, create_community
from xdsi.failures import Failed


def command(
    folder: Annotated[Path, typer.Argument(help="Folder for the PEM files; what is there and good is kept.")],
    name: Annotated[
        str, typer.Argument(help="Name of the community or hospital; a folder keeps its first.")
    ] = "Community",
    host: Annotated[list[str], typer.Option(help="Name or address of the node; may be repeated.")] = list(
        HOSTS
    ),
) -> None:
    """Make an authority, a node certificate and an assertion provider, and print the settings that use them.

    node.p12 is the node's certificate for a browser: import it there, and ca.pem as an authority.

    For trying out: a real community brings its own authority.

    Example: [bold]xdsi certificates ./certificates "Hospital North" > xdsi.env[/bold]
    """
    try:
        community = create_community(folder.resolve(), name, host)
    except (OSError, ValueError) as error:
        raise Failed(f"no certificates in {folder}: {error}") from None
    node = fingerprint_of(community.node.certificate)
    issuers = json.dumps({community.issuer: str(community.provider.certificate)})
    for variable, value in (
        ("XDSI_TLS__CERTIFICATE", community.node.certificate),
        ("XDSI_TLS__KEY", community.node.key),
        ("XDSI_TLS__TRUST", community.trust),
        ("XDSI_COMMUNITY_NODES", json.dumps([node])),
        ("XDSI_ASSERTION__ISSUERS", issuers),
        ("XDSI_ASSERTION__ISSUER", community.issuer),
        ("XDSI_ASSERTION__KEY", community.provider.key),
        ("XDSI_ASSERTION__CERTIFICATE", community.provider.certificate),
    ):
        typer.echo(f"export {variable}='{value}'")
    typer.echo(f"# A browser takes {community.bundle}, password {PASSWORD}, and trusts {community.trust}.")
    typer.echo(f"# Another community lets this node in by naming {node}:")
    typer.echo(
        "# XDSI_RIGHTS__ASK to ask for its users, XDSI_RIGHTS__SUBMIT to register; see docs/settings.md"
    )
