"""`xdsi node`: the register of nodes, which every service of the community reads."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography import x509
from pydantic import ValidationError

from audit_repository.settings import AuditRepositorySettings
from shared.audit.events import Outcome
from shared.audit.node_events import node_changed
from shared.audit.recorder import AuditUnavailable
from shared.security.node_list import is_fingerprint
from shared.security.nodes import (
    NodeActor,
    NodeRegister,
    RegisteredNode,
    RegisterError,
    encode_register,
    read_register,
)
from shared.security.peer_certificate import fingerprint_of
from shared.security.rights import Right
from shared.settings import ServiceSettings
from shared.store.folders import lock_file, sync
from xdsi.audit import collect
from xdsi.audit_client import Since, Url, moment
from xdsi.configuration import load
from xdsi.failures import Failed, WrongUsage
from xdsi.listing import Column, counted
from xdsi.listing import show as show_list
from xdsi.options import AsJson, Config, Quiet
from xdsi.recording import recording

app = typer.Typer()

MOST_RECORDS = 20_000

Name = Annotated[str, typer.Argument(metavar="NAME", help="Under which the node is registered.")]
_COLUMNS = (
    Column("node"),
    Column("actor"),
    Column("community"),
    Column("may"),
    Column("bound to"),
    Column("revoked"),
    Column("certificate", is_id=True),
)
_STRANGERS = (Column("address"), Column("refused"), Column("last"), Column("why"))
_FURTHER = re.compile(r"(\d+) more refusals since ")


@app.command()
def add(
    name: Name,
    certificate: Annotated[
        str,
        typer.Argument(metavar="CERTIFICATE", help="PEM file, or the SHA-256 of the certificate."),
    ],
    actor: Annotated[list[NodeActor], typer.Option(help="What it is; may be repeated.")],
    community: Annotated[
        str, typer.Option(help="homeCommunityId, of a node of another community.", metavar="URN")
    ] = "",
    right: Annotated[
        list[Right] | None, typer.Option(help="What it may do, instead of what its actors may; repeated.")
    ] = None,
    repository: Annotated[
        list[str] | None, typer.Option(help="repositoryUniqueId for which alone it registers; repeated.")
    ] = None,
    domain: Annotated[
        list[str] | None, typer.Option(help="Assigning authority that alone it feeds (OID); repeated.")
    ] = None,
    ae_title: Annotated[
        list[str] | None, typer.Option(help="AE title that it alone uses; may be repeated.")
    ] = None,
    audit_source: Annotated[
        list[str] | None, typer.Option(help="AuditSourceID that it alone uses; may be repeated.")
    ] = None,
    by_name: Annotated[
        bool,
        typer.Option(help="Know it by subject and issuer of the PEM file; a renewed one has them."),
    ] = False,
    config: Config = None,
) -> None:
    """Register a node: which certificate is which actor, and what it may do. Services know within seconds.

    With the first node the register alone says who may: register the services of the community too.

    Example: [bold]xdsi node add north-pacs pacs.pem --actor imaging-document-source --ae-title PACS[/bold]
    """
    content: dict[str, Any] = {
        "name": name,
        "actors": actor,
        "community": community or None,
        "rights": right or (),
        "repositories": repository or (),
        "domains": domain or (),
        "ae_titles": ae_title or (),
        "audit_sources": audit_source or (),
        **_identity(certificate, by_name=by_name),
    }
    try:
        node = RegisteredNode(**content)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"--{str(part).replace('_', '-')}: " for part in first["loc"][:1])
        raise WrongUsage(f"{where}{first['msg'].removeprefix('Value error, ')}") from None
    rights = ", ".join(sorted(node.granted))
    with _changed(config, name, f"registered as {', '.join(node.actors)}; may {rights}") as nodes:
        nodes.append(node)
    typer.echo(f"registered {name}")


@app.command(name="list")
def list_nodes(as_json: AsJson = False, quiet: Quiet = False, config: Config = None) -> None:
    """List the registered nodes, and what each may do.

    Example: [bold]xdsi node list[/bold]
    """
    nodes = _register(_path(config)).nodes
    if as_json:
        typer.echo(json.dumps([_shown(node) for node in nodes], indent=2))
    elif quiet:
        for node in nodes:
            typer.echo(node.name)
    else:
        typer.echo(counted(len(nodes), "node"))
        show_list(_COLUMNS, map(_row, nodes))


@app.command()
def show(name: Name, as_json: AsJson = False, config: Config = None) -> None:
    """Show one node.

    Example: [bold]xdsi node show north-pacs[/bold]
    """
    node = _named(_register(_path(config)).nodes, name)
    if as_json:
        typer.echo(json.dumps(_shown(node), indent=2))
        return
    for what, value in _shown(node).items():
        if value:
            typer.echo(f"{what:14} {', '.join(value) if isinstance(value, list) else value}")


@app.command()
def revoke(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why; for whoever reads it later.")] = "",
    config: Config = None,
) -> None:
    """Take every right from a node. Its entry stays, so that the certificate is known as revoked.

    Example: [bold]xdsi node revoke north-pacs --reason "key was stolen"[/bold]
    """
    with _changed(config, name, f"revoked: {reason}" if reason else "revoked") as nodes:
        node = _named(nodes, name)
        change = {"revoked": node.revoked or datetime.now(UTC).replace(microsecond=0), "reason": reason}
        nodes[nodes.index(node)] = RegisteredNode.model_validate(node.model_dump() | change)
    typer.echo(f"revoked {name}")


@app.command()
def strangers(
    since: Since = "7d",
    as_json: AsJson = False,
    url: Url = "",
    config: Config = None,
) -> None:
    """Sum up who was refused as a node, by address: handshakes of strangers, and nodes without the right.

    Example: [bold]xdsi node strangers --since 24h[/bold]
    """
    settings = load(AuditRepositorySettings, config)
    begin = moment(since, "--since")
    criteria = {"type": "110126"} | ({"since": begin.isoformat()} if begin else {})
    summary = summed_up(asyncio.run(collect(settings, url, criteria, MOST_RECORDS)))
    if as_json:
        typer.echo(json.dumps([one.told() for one in summary], indent=2, ensure_ascii=False))
        return
    typer.echo(counted(sum(one.number for one in summary), "refusal"))
    show_list(
        _STRANGERS,
        ((one.address, str(one.number), one.last, one.reasons.most_common(1)[0][0]) for one in summary),
    )


@dataclass(slots=True)
class AddressRefusals:
    """What one address was refused; `number` counts those, too, that a record only sums up."""

    address: str
    number: int = 0
    last: str = ""
    reasons: Counter[str] = field(default_factory=Counter)

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "address": self.address,
            "refused": self.number,
            "last": self.last,
            "reasons": dict(self.reasons.most_common()),
        }


def summed_up(records: Iterable[dict[str, Any]]) -> list[AddressRefusals]:
    """Records of Node Authentication by address, the most first."""
    summary: dict[str, AddressRefusals] = {}
    for record in records:
        text = str(record.get("description") or "")
        address = next(iter(_addresses(record)), "")
        one = summary.setdefault(address, AddressRefusals(address))
        further = _FURTHER.match(text)
        number = int(further[1]) if further else 1
        one.number += number
        one.reasons[text.partition(": ")[2] if further else text] += number
        one.last = max(one.last, str(record.get("time") or ""))
    return sorted(summary.values(), key=lambda one: -one.number)


def _addresses(record: dict[str, Any]) -> Iterator[str]:
    for each in record.get("objects") or ():
        yield str(each.get("id") if isinstance(each, dict) else each)


# --- the file -------------------------------------------------------------------------------------------


def _path(config: Path | None) -> Path:
    settings = load(ServiceSettings, config)
    if settings.nodes is None:
        raise Failed("XDSI_NODES: is not set; name the JSON file of the register of nodes")
    return settings.nodes


def _register(path: Path) -> NodeRegister:
    if not path.exists():
        return NodeRegister()
    try:
        return read_register(path)
    except RegisterError as error:
        raise Failed(f"XDSI_NODES: {error}; correct it, or take the last copy of it") from None


@contextmanager
def _changed(config: Path | None, name: str, change: str) -> Iterator[list[RegisteredNode]]:
    """The nodes of the register, to be changed by nobody else meanwhile; whole in its file at the end.

    What becomes of the node `name` is recorded before: a change that cannot be recorded is not made.
    """
    path = _path(config)
    try:
        lock = lock_file(path.with_name(f".{path.name}.lock"))
    except BlockingIOError:
        raise Failed(f"{path} is just being changed by another command; try again") from None
    except OSError as error:
        raise Failed(f"XDSI_NODES: {path} cannot be written ({error.strerror})") from None
    try:
        nodes = list(_register(path).nodes)
        yield nodes
        try:
            content = encode_register(NodeRegister(nodes))
        except RegisterError as error:
            raise Failed(str(error)) from None
        asyncio.run(_written(load(ServiceSettings, config), path, content, name, change))
    finally:
        os.close(lock)


async def _written(settings: ServiceSettings, path: Path, content: bytes, name: str, change: str) -> None:
    by = getpass.getuser()
    try:
        async with recording(settings, "node") as recorder:
            await recorder.record([node_changed(name, change, Outcome.SUCCESS, by=by)])
            try:
                _write(path, content)
            except OSError as error:
                why = f"is not {change}: the register cannot be written"
                await recorder.record([node_changed(name, why, Outcome.SERIOUS_FAILURE, by=by)])
                raise Failed(f"XDSI_NODES: {path} cannot be written ({error.strerror})") from None
    except AuditUnavailable as error:
        raise Failed(f"nothing was changed, because it cannot be recorded: {error}") from None


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(content)
    # It holds no secret, and services of other users read it.
    beside.chmod(0o644)
    sync(beside)
    beside.replace(path)
    sync(path.parent)


def _identity(certificate: str, *, by_name: bool) -> dict[str, str]:
    if is_fingerprint(certificate.replace(":", "")):
        if by_name:
            raise WrongUsage("--by-name: needs the PEM file, which has the names; a SHA-256 has none")
        return {"sha256": certificate}
    path = Path(certificate)
    try:
        if not by_name:
            return {"sha256": fingerprint_of(path)}
        first = x509.load_pem_x509_certificates(path.read_bytes())[0]
        return {"subject": first.subject.rfc4514_string(), "issuer": first.issuer.rfc4514_string()}
    except (OSError, ValueError):
        raise WrongUsage(
            f"CERTIFICATE {certificate[:200]!r}: no PEM file of a certificate, and no SHA-256 of one"
        ) from None


def _named(nodes: Iterable[RegisteredNode], name: str) -> RegisteredNode:
    for node in nodes:
        if node.name == name:
            return node
    raise Failed(f"no node is registered as {name[:100]!r}; `xdsi node list` shows who is")


# --- what is shown --------------------------------------------------------------------------------------


def _shown(node: RegisteredNode) -> dict[str, Any]:
    return node.model_dump(mode="json", exclude={"rights"}) | {"may": sorted(node.granted)}


def _row(node: RegisteredNode) -> tuple[str, ...]:
    bounds = (*node.repositories, *node.domains, *node.ae_titles, *node.audit_sources)
    return (
        node.name,
        ", ".join(node.actors),
        node.community or "",
        ", ".join(sorted(node.granted)),
        ", ".join(bounds),
        "" if node.revoked is None else f"{node.revoked:%Y-%m-%d %H:%M}Z",
        node.sha256 or f"{node.subject} of {node.issuer}",
    )
