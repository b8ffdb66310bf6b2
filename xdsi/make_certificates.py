"""`xdsi certificates`: a small authority, the certificates it makes and takes back, and settings."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography import x509
from typer.core import TyperGroup

from shared.security.peer_certificate import fingerprint_of
from xdsi.certificates import HOSTS, PASSWORD, create_community, revoked_serials
from xdsi.certificates import renew as make_anew
from xdsi.certificates import revoke as take_back
from xdsi.checks.certificates import SOON
from xdsi.failures import Failed
from xdsi.listing import Column, counted, show
from xdsi.options import AsJson


class _FolderGroup(TyperGroup):
    """A group whose first word may be the folder, of the command that makes what is absent there."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the first word names; without one, `make`."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["make", *args])


app = typer.Typer(cls=_FolderGroup)

Folder = Annotated[Path, typer.Argument(help="Folder of the authority, as `xdsi certificates` made it.")]


@app.command()
def make(
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


@app.command()
def renew(
    folder: Folder,
    new_key: Annotated[bool, typer.Option(help="With new keys too, as after a theft.")] = False,
) -> None:
    """Make the certificates of node and assertion provider anew; services take them as they are.

    The provider's certificate is believed as a file: give the new one to whoever believes it.

    Example: [bold]xdsi certificates renew ./certificates[/bold]
    """
    try:
        renewed = make_anew(folder.resolve(), new_key=new_key)
    except (OSError, ValueError) as error:
        raise Failed(f"no certificates in {folder}: {error}") from None
    for path in renewed:
        typer.echo(f"{path}: SHA-256 {fingerprint_of(path)}")


@app.command()
def revoke(
    folder: Folder,
    certificate: Annotated[list[Path] | None, typer.Argument(help="PEM files of what is taken back.")] = None,
) -> None:
    """Take certificates back, and sign the authority's revocation list anew; without any, do the latter.

    Services read it as XDSI_TLS__REVOCATION_LISTS, without a restart.

    Example: [bold]xdsi certificates revoke ./certificates stolen.pem[/bold]
    """
    try:
        path = take_back(folder.resolve(), *(certificate or ()))
    except (OSError, ValueError) as error:
        raise Failed(f"nothing was revoked: {error}") from None
    typer.echo(f"export XDSI_TLS__REVOCATION_LISTS='{path}'")
    typer.echo("export XDSI_TLS__REVOCATION='hard'")


@app.command(name="list")
def list_certificates(folder: Folder, as_json: AsJson = False) -> None:
    """List the certificates of a folder: whose, until when, and whether the authority took them back.

    Example: [bold]xdsi certificates list ./certificates[/bold]
    """
    now = datetime.now(UTC)
    try:
        revoked = revoked_serials(folder)
        # The trust file holds copies of what stands in files of its own.
        paths = sorted(path for path in folder.glob("*.pem") if path.name not in ("trust.pem", "crl.pem"))
        certificates = [(path, x509.load_pem_x509_certificates(path.read_bytes())[0]) for path in paths]
    except (OSError, ValueError) as error:
        raise Failed(f"the certificates in {folder} cannot be read: {error}") from None
    rows = [
        {
            "file": path.name,
            "subject": one.subject.rfc4514_string(),
            "ends": one.not_valid_after_utc.isoformat(),
            "state": _state(one, revoked, now),
            "sha256": fingerprint_of(path),
        }
        for path, one in certificates
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    typer.echo(counted(len(rows), "certificate"))
    columns = [
        Column(name, is_id=name == "sha256") for name in ("file", "subject", "ends", "state", "sha256")
    ]
    show(columns, [tuple(row.values()) for row in rows])


def _state(certificate: x509.Certificate, revoked: frozenset[int], now: datetime) -> str:
    left = certificate.not_valid_after_utc - now
    if certificate.serial_number in revoked and certificate.issuer != certificate.subject:
        return "revoked"
    if left.total_seconds() <= 0:
        return "expired"
    return f"ends in {left.days} days" if left < SOON else "good"
