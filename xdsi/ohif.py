"""`xdsi ohif`: the OHIF viewer as an extra of the consumer's pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumer.settings import ConsumerSettings
from consumer.store.ohif import PACKAGE, VERSION, WrongRelease, install
from xdsi.configuration import load
from xdsi.failures import Failed
from xdsi.options import Config


def command(
    package: Annotated[
        Path,
        typer.Argument(help=f"{PACKAGE}, as `npm pack @ohif/app@{VERSION}` brings it."),
    ],
    config: Config = None,
) -> None:
    """Install OHIF from its package: unpacked below XDSI_DATA, where the consumer finds it at once.

    The one release that is known by its digest is taken; nothing is fetched from anywhere.

    Example: [bold]xdsi ohif ohif-app-3.13.2.tgz[/bold]
    """
    settings = load(ConsumerSettings, config)
    try:
        folder = install(package, settings.data)
    except WrongRelease as error:
        raise Failed(f"{error}; fetch it by `npm pack @ohif/app@{VERSION}`") from None
    typer.echo(f"OHIF {VERSION} is in {folder}; pages of studies have a link to it")
