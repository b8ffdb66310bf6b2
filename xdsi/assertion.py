"""`xdsi assertion`: a signed assertion about a user, for trying out."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from consumer.imaging_document_consumer import content_of, issuer_of
from consumer.settings import ConsumerSettings
from xdsi.clinician import Organization, Purpose, Role, clinician_of
from xdsi.configuration import load
from xdsi.options import Config


def command(
    user: Annotated[str, typer.Option(help="Login of the user.")],
    role: Role = [],
    purpose: Purpose = "TREAT",
    organization: Organization = [],
    minutes: Annotated[float, typer.Option(min=1, max=24 * 60, help="For so long it is valid.")] = 60,
    config: Config = None,
) -> None:
    """Print a SAML 2.0 assertion about a user, signed by the provider of the settings.

    The pages take the file to sign in; programs send it in base64 as [bold]Authorization: SAML[/bold].
    Whoever has it is taken for the user as long as it is valid. For trying out: people get theirs from the
    identity provider of their hospital.

    Example: [bold]xdsi assertion --user dr.roe --role RAD-PHYS^^2.999.40.1 > dr.roe.saml[/bold]
    """
    settings = load(ConsumerSettings, config)
    clinician = clinician_of(user, role, purpose, organization)
    assert clinician is not None  # a user is named
    content = content_of(settings, clinician, lifetime_seconds=minutes * 60)
    sys.stdout.write(issuer_of(settings).sign(content).decode("ascii"))
