"""The command `xdsi`: every subcommand is a module of its own, loaded when it is called.

Exit status: 0 done, 1 refused or failed with its reason on standard error, 2 wrong usage.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
from contextlib import nullcontext
from importlib.metadata import version
from typing import Annotated

import typer

from shared.attempts import attempted
from shared.store.folders import keep_private
from shared.telemetry.trace import one_trace
from xdsi.failures import Failed, WrongUsage
from xdsi.loading import loading

# Set by the completion that typer makes for a shell; what was typed stands in one of the others.
_COMPLETING = "_XDSI_COMPLETE"
_COMPLETED = ("_TYPER_COMPLETE_ARGS", "COMP_WORDS")

# They answer others, and ask peers for each of them.
_SERVING = frozenset({"serve", "up"})

# Name of the subcommand → module and what it is for, in the order in which a newcomer needs them.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (
        "xdsi.demo",
        "Two hospitals and a community on this machine: the whole path, shown step by step.",
    ),
    "up": ("xdsi.up", "All services of one community in the foreground."),
    "serve": ("xdsi.serve", "One service; settings from the environment or a TOML file."),
    "settings": ("xdsi.settings", "Print the effective settings and where each was given; secrets hidden."),
    "doctor": (
        "xdsi.doctor",
        "Check settings, ports, certificates, databases, peers and clocks; name the remedies.",
    ),
    "patient": ("xdsi.patient", "Feed patient identities by ITI-8: add, merge."),
    "import": ("xdsi.import_", "Send DICOM files into the imaging source."),
    "publish": ("xdsi.publish", "Publish studies: manifests by RAD-68."),
    "publications": (
        "xdsi.publications",
        "What is published, what waits or failed and why; try again, withdraw.",
    ),
    "reports": (
        "xdsi.reports",
        "Reports that came by HL7: what waits and why; accept, try again, withdraw.",
    ),
    "convert": ("xdsi.convert", "A MADO manifest in its other encoding: DICOM, or a FHIR Bundle."),
    "migrate": ("xdsi.migrate", "Studies of an archive in place into the source, for good."),
    "erase": ("xdsi.erase", "Images of the source, for ever, with their manifests."),
    "kpi": ("xdsi.kpi", "Volumes, publications and times of retrieval, for the manager of a PACS."),
    "find": ("xdsi.find", "Find published studies of a patient by ITI-18."),
    "fetch": ("xdsi.fetch", "Fetch the images that a manifest points at, by RAD-69 or WADO-RS."),
    "take-over": (
        "xdsi.take_over",
        "Studies of others into the own archive or onto media, under own identifiers; their queue.",
    ),
    "ohif": ("xdsi.ohif", "Put the OHIF viewer beside ours in the pages of the consumer."),
    "consent": ("xdsi.consent", "Record a patient's policies; explain a decision."),
    "user": ("xdsi.user", "Who the people of a community are, by which sign-ins: add, list, disable."),
    "node": ("xdsi.node", "Which certificate is which actor and what it may do: register, list, revoke."),
    "audit": ("xdsi.audit", "Search, verify and report the audit trail."),
    "db": ("xdsi.db", "Upgrade, back up, restore and verify databases and documents."),
    "conform": ("xdsi.conform", "Ask a system for what the standards require of it, and report."),
    "simulate": ("xdsi.simulate", "Play peers that answer rightly, or wrongly, for testing who asks them."),
    "record": ("xdsi.record", "Stand between two systems: keep what passes, and judge it as it comes."),
    "validate": ("xdsi.validate", "Say what kind of thing a file is, and what is wrong with it, by clause."),
    "certificates": (
        "xdsi.make_certificates",
        "A small authority: make, renew, revoke and list certificates of nodes and an assertion provider.",
    ),
    "assertion": ("xdsi.assertion", "An assertion about a user, for trying out: the pages and curl take it."),
}


HELP = (
    "An open IHE XDS-I.b platform: hospitals publish imaging studies to a shared registry; clinicians "
    "elsewhere find them, are permitted, and fetch them; every access is audited."
    "\n\nStart here: [bold]xdsi demo[/bold]"
)


# What no message could carry: controls that XML has not, and octets that are not UTF-8 as Python shows them.
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def build(command: str) -> typer.Typer:
    """The command line with the subcommand `command` loaded and the others as names with their summaries.

    A module offers `app` (a group of subcommands) or `command` (a function).
    """
    cli = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode="rich",
        help=HELP,
        pretty_exceptions_enable=False,
    )
    cli.callback()(_root)
    for name, (module_name, summary) in COMMANDS.items():
        if name != command:
            cli.command(name, help=summary)(_not_loaded)
            continue
        with loading():
            module = importlib.import_module(module_name)
        if hasattr(module, "app"):
            cli.add_typer(module.app, name=name, help=summary, no_args_is_help=True)
        else:
            cli.command(name)(module.command)
    return cli


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"xdsi {version('xdsi')}")
        raise typer.Exit


def _root(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Tell which release this is.", is_eager=True, callback=_tell_version),
    ] = False,
) -> None:
    """The group itself does nothing."""


def _not_loaded() -> None:
    raise LookupError("only the subcommand that was asked for is loaded")


def _words() -> list[str]:
    """What was typed after `xdsi`, also when a shell asks how it could go on."""
    words_of_shell = next(filter(None, (os.environ.get(name) for name in _COMPLETED)), "")
    return words_of_shell.split()[1:] if _COMPLETING in os.environ else sys.argv[1:]


def main() -> None:
    """Run the command line."""
    keep_private()
    for stream in (sys.stdout, sys.stderr):
        # Names of files need not be text in the terminal's encoding.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for word in sys.argv[1:]:
        if not word.isprintable():
            sys.stderr.write(
                f"xdsi: {word!r}: control characters and what is not UTF-8 cannot be understood\n"
            )
            sys.exit(WrongUsage.status)
    words = [word for word in _words() if not word.startswith("-")]
    # A command tells people what they need; log lines and warnings are a service's, which sets up its own.
    logging.getLogger().addHandler(logging.NullHandler())
    logging.captureWarnings(capture=True)
    command = words[0] if words else ""
    try:
        # What a command asks of its peers is one trace; a service has one for each request.
        with nullcontext() if command in _SERVING else one_trace():
            error = attempted(lambda: build(command)(prog_name="xdsi"))
    except KeyboardInterrupt:
        sys.exit(130)
    if isinstance(error, Exception):
        from xdsi.mistakes import told  # what it knows takes its time to load, and is seldom needed

        sys.stderr.write("".join(f"xdsi: {line}\n" for line in told(error).splitlines()))
        sys.exit(error.status if isinstance(error, Failed) else 1)
