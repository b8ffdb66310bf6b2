"""`xdsi patient`: feed patient identities to the registry by ITI-8, over MLLP as a hospital does."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

import typer

from registry.settings import RegistrySettings
from shared.ebrim.identifiers import CX, escape_component
from shared.security.certificate_check import certificate_known
from shared.security.tls import client_context
from xdsi.configuration import load
from xdsi.failures import Failed
from xdsi.options import AsJson, Config
from xdsi.patient_ids import domain_patient_id

app = typer.Typer()

START, END = b"\x0b", b"\x1c\x0d"
ANSWER_SECONDS = 30.0
#: So long the same message is sent again when no answer came: a merge of many documents takes its time.
OUTCOME_SECONDS = 600.0
PAUSE_SECONDS = 1.0
MAX_ANSWER = 64 * 1024
_NO_ANSWER = (OSError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)

To = Annotated[
    str, typer.Option("--to", help="HOST:PORT of the feed; the registry of the settings if absent.")
]


@app.command()
def add(
    patient_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id in the affinity domain, or a whole CX.")
    ],
    name: Annotated[str, typer.Option(help="FAMILY^GIVEN; sent, and not kept by the registry.")] = "",
    to: To = "",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Make a patient id known to the registry (ADT^A04).

    Example: [bold]xdsi patient add P-1001 --name "Roe^Rick"[/bold]
    """
    settings = load(RegistrySettings, config)
    patient = _cx(patient_id, settings)
    asyncio.run(send(settings, to, message("A04", patient=patient, name=name)))
    typer.echo(json.dumps({"added": patient}) if as_json else f"added {patient}")


@app.command()
def merge(
    old: Annotated[str, typer.Argument(metavar="OLD", help="Id that ends.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Id that takes over everything.")],
    to: To = "",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Merge patient OLD into NEW, which cannot be undone (ADT^A40).

    Example: [bold]xdsi patient merge P-1002 P-1001[/bold]
    """
    settings = load(RegistrySettings, config)
    prior, survivor = _cx(old, settings), _cx(new, settings)
    asyncio.run(send(settings, to, message("A40", patient=survivor, prior=prior)))
    typer.echo(
        json.dumps({"merged": prior, "into": survivor}) if as_json else f"merged {prior} into {survivor}"
    )


def _cx(patient_id: str, settings: RegistrySettings) -> str:
    return domain_patient_id(patient_id, settings.affinity_domain)


def message(event: str, *, patient: str, prior: str = "", name: str = "") -> bytes:
    """An ADT message for `patient` (a CX), and in a merge for the `prior` one."""
    now = f"{datetime.now(UTC):%Y%m%d%H%M%S}"
    structure = "ADT_A39" if event == "A40" else "ADT_A01"
    shown = "^".join(map(_component, name.split("^"))) or "^"
    segments = [
        f"MSH|^~\\&|XDSI|XDSI|REGISTRY|XDSI|{now}||ADT^{event}^{structure}|{uuid4().hex[:20]}|P|2.3.1"
        "||||||UNICODE UTF-8",
        f"EVN|{event}|{now}",
        f"PID|||{_field(patient)}||{shown}",
    ]
    if prior:
        segments.append(f"MRG|{_field(prior)}")
    else:
        segments.append("PV1||O")
    return "".join(f"{segment}\r" for segment in segments).encode()


def _field(patient_id: str) -> str:
    return str(CX.parse(patient_id))


def _component(text: str) -> str:
    return escape_component("".join(character for character in text if character.isprintable()))


async def send(settings: RegistrySettings, to: str, octets: bytes) -> None:
    """Send a message and read its acknowledgement; anything but AA is `Failed`.

    When no answer comes, the same message is sent again: the registry does it once, and answers when it is
    done.
    """
    host, port = _address(settings, to)
    context = client_context(settings.tls) if settings.tls.enabled else None
    code, text = _acknowledged(await _answer(host, port, context, octets))
    if code != "AA":
        raise Failed(f"the registry refused the message ({code or 'no acknowledgement'}): {text}")


async def _answer(host: str, port: int, context: ssl.SSLContext | None, octets: bytes) -> bytes:
    until = asyncio.get_running_loop().time() + OUTCOME_SECONDS
    sent = False
    while True:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await _connected(host, port, context)
                sent = True
                return await _exchange(reader, writer, octets)
        except _NO_ANSWER as error:
            reason = str(error) or type(error).__name__
        if not sent:
            raise Failed(
                f"the feed at {host}:{port} does not answer ({reason}); "
                "is the registry running? name it with --to or XDSI_REGISTRY__MLLP_PORT"
            )
        if asyncio.get_running_loop().time() > until:
            raise Failed(
                f"the feed at {host}:{port} took the message and gave no answer ({reason}); whether it was "
                "done is not known, and the same command tells"
            )
        typer.echo(f"no answer yet ({reason}); the same message is sent again", err=True)
        await asyncio.sleep(PAUSE_SECONDS)


def _address(settings: RegistrySettings, to: str) -> tuple[str, int]:
    if not to:
        return settings.host, settings.feed_port
    host, _, port = to.rpartition(":")
    if not host or not port.isdigit():
        raise typer.BadParameter(f"{to} is not HOST:PORT", param_hint="--to")
    return host.strip("[]"), int(port)


async def _connected(
    host: str, port: int, context: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(
        host, port, ssl=context, server_hostname=host if context else None, limit=MAX_ANSWER
    )
    await certificate_known(writer.transport)
    return reader, writer


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, octets: bytes) -> bytes:
    try:
        writer.write(START + octets + END)
        await writer.drain()
        return await reader.readuntil(END)
    finally:
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
        # The answer is here, or its absence is being told; how the connection ends adds nothing.
        with suppress(OSError):
            await writer.wait_closed()


def _acknowledged(answer: bytes) -> tuple[str, str]:
    for segment in answer.strip(START + END).decode("utf-8", "replace").split("\r"):
        fields = segment.split("|")
        if fields[0] == "MSA":
            return fields[1] if len(fields) > 1 else "", fields[3] if len(fields) > 3 else ""
    return "", "the answer is no acknowledgement"
