"""The command line teaches, and ends with the status that it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest
from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates
from cryptography.x509 import load_pem_x509_certificates
from typer.testing import CliRunner

from consumer.settings import ConsumerSettings
from shared.security.xua import AssertionVerifier
from shared.xml import parse
from tests.support.command_line import command_line
from xdsi.certificates import PASSWORD
from xdsi.cli import COMMANDS, build, main
from xdsi.clinician import clinician_of
from xdsi.failures import Failed
from xdsi.patient_ids import domain_patient_id

RUNNER = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})
DOMAIN = "1.3.6.1.4.1.21367.2005.13.20.1000"


def xdsi(*words: str, env: dict[str, str] | None = None):
    return RUNNER.invoke(build(words[0] if words else ""), list(words), env=env)


def endings(name: str) -> dict[tuple[str, ...], Any]:
    """The commands at which a name ends: itself, or those below it, by their words."""
    below = {(name,): command_line(name).commands[name]}
    while groups := [path for path, one in below.items() if hasattr(one, "commands")]:
        for path in groups:
            below |= {(*path, word): one for word, one in below.pop(path).commands.items()}
    return below


def test_help_lists_every_command_with_what_it_is_for():
    text = xdsi("--help").output
    for name, (_, summary) in COMMANDS.items():
        assert name in text
        assert summary.split(",")[0].split(";")[0][:40] in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str):
    for path in endings(name):
        told = xdsi(*path, "--help")
        assert told.exit_code == 0
        assert "Example:" in told.output, path


def test_the_release_is_told():
    assert xdsi("--version").output == f"xdsi {version('xdsi')}\n"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("xdsi publ", "publish publications"), ("xdsi find --pat", "--patient"), ("xdsi audit ver", "verify")],
)
def test_a_shell_can_complete_commands_and_options(typed: str, offered: str):
    ended = subprocess.run(
        [sys.executable, "-m", "xdsi"],
        capture_output=True,
        text=True,
        check=True,
        env={"_XDSI_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))},
    )
    assert ended.stdout.split() == offered.split()


# They run until they are ended, print lines for a shell or a file, or change one thing and name it.
WITHOUT_JSON = {
    *(("demo",), ("up",), ("serve",), ("simulate",), ("record",), ("assertion",), ("erase",)),
    *(("convert",), ("ohif",)),
    *(("certificates", "make"), ("certificates", "renew"), ("certificates", "revoke")),
    *(("node", "add"), ("node", "revoke")),
    *(("audit", "export"), ("audit", "hold", "add"), ("audit", "hold", "release")),
}


def test_every_command_that_ends_prints_json_when_it_is_asked_to():
    without = {
        path
        for name in COMMANDS
        for path, command in endings(name).items()
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert without == WITHOUT_JSON


ROOT = Path(__file__).parents[3]
_SHOWN = re.compile(r"(?:^|\[bold\]|`|\$\()(?:[A-Z_]+=\S+ )*xdsi ([^\n`|>#;)\[]+)", re.MULTILINE)


def shown() -> set[str]:
    """Every command with its options that help, README and pages show."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    texts = [page.read_text("utf-8") for page in pages]
    for name in COMMANDS:
        command = command_line(name).commands[name]
        texts += [one.help or "" for one in (command, *endings(name).values())]
    return {" ".join(words.split()) for text in texts for words in _SHOWN.findall(text)}


@pytest.mark.parametrize("line", sorted(shown()))
def test_nothing_is_shown_that_is_not_there(line: str):
    words = line.split()
    command = command_line(words[0])
    while words and words[0].isascii() and hasattr(command, "commands"):
        _, command, words = command.resolve_command(click.Context(command), words)
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"} <= {
        *options,
        "--help",
    }


@pytest.mark.parametrize("words", [["nonsense"], ["find"], ["serve", "oven"], ["fetch", "1.2"]])
def test_wrong_usage_ends_with_status_2(words: list[str]):
    assert xdsi(*words).exit_code == 2


def test_a_failure_ends_with_status_1_and_its_reason_on_standard_error(tmp_path: Path):
    ended = subprocess.run(
        [sys.executable, "-m", "xdsi", "find", "--patient", "P1"],
        capture_output=True,
        text=True,
        check=False,
        env={"XDSI_REGISTRY_URL": "http://127.0.0.1:9/xds/registry", "XDSI_DATA": str(tmp_path)},
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("xdsi: the registry cannot be asked")
    assert ended.stdout == ""


def test_wrong_settings_are_told_one_by_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "argv", ["xdsi", "serve", "registry"])
    monkeypatch.setenv("XDSI_HOST", "0.0.0.0")
    monkeypatch.setenv("XDSI_XUA", "off")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.count("xdsi: XDSI_") == 2


def test_a_patient_id_of_the_domain_is_completed():
    assert domain_patient_id("P1", DOMAIN) == f"P1^^^&{DOMAIN}&ISO"
    assert domain_patient_id("P1^^^&1.2.3&ISO", DOMAIN) == "P1^^^&1.2.3&ISO"
    with pytest.raises(Failed, match="not a patient id"):
        domain_patient_id("P1^^^nonsense", DOMAIN)


def test_a_role_is_a_code_with_its_scheme():
    clinician = clinician_of("dr.roe", ["RAD^Radiologist^1.2.3"], "TREAT", [])
    assert clinician is not None
    [role] = clinician.roles
    assert (role.value, role.display_name, role.scheme) == ("RAD", "Radiologist", "1.2.3")
    assert clinician.purposes[0].scheme == "2.16.840.1.113883.5.8"
    with pytest.raises(Failed, match="is not a code"):
        clinician_of("dr.roe", ["RAD"], "TREAT", [])


def exported(*words: str) -> dict[str, str]:
    exports = (
        line for line in xdsi("certificates", *words).stdout.splitlines() if line.startswith("export ")
    )
    given = dict(line.removeprefix("export ").split("=", 1) for line in exports)
    return {name: value.strip("'") for name, value in given.items()}


def test_certificates_made_again_keep_the_name_of_the_issuer(tmp_path: Path):
    first = exported(str(tmp_path / "c"), "Hospital North")

    assert first["XDSI_ASSERTION__ISSUER"] == "urn:xdsi:assertion-provider:hospital-north"
    assert exported(str(tmp_path / "c")) == first
    assert exported(str(tmp_path / "c"), "Another Name") == first


def test_a_browser_gets_the_certificate_of_the_node_with_its_key(tmp_path: Path):
    environ = exported(str(tmp_path / "c"))

    bundle = tmp_path / "c" / "node.p12"
    key, certificate, authorities = load_key_and_certificates(bundle.read_bytes(), PASSWORD.encode())

    pem = Path(environ["XDSI_TLS__CERTIFICATE"]).read_bytes()
    assert certificate == load_pem_x509_certificates(pem)[0]
    assert key.public_key() == certificate.public_key()
    assert authorities == load_pem_x509_certificates(Path(environ["XDSI_TLS__TRUST"]).read_bytes())
    assert bundle.stat().st_mode & 0o777 == 0o600


def test_an_assertion_is_what_services_accept_of_its_user_and_of_nobody_else(tmp_path: Path):
    environ = exported(str(tmp_path / "c"))

    printed = xdsi("assertion", "--user", "dr.roe", "--role", "RAD^Radiologist^1.2.3", env=environ)

    settings = ConsumerSettings.load(environ=environ)
    verifier = AssertionVerifier(settings.assertion, settings.audience, settings.home_community_id)
    user = verifier.verify(parse(printed.stdout.encode()), datetime.now(UTC)).user
    assert (user.name_id, [role.value for role in user.roles]) == ("dr.roe", ["RAD"])


def test_without_a_provider_no_assertion_is_made(tmp_path: Path):
    ended = xdsi("assertion", "--user", "dr.roe", env={"XDSI_DATA": str(tmp_path)})

    assert "xdsi certificates" in str(ended.exception)


def test_certificates_prints_settings_that_services_accept(tmp_path: Path):
    from registry.settings import RegistrySettings

    told = xdsi("certificates", str(tmp_path / "c"))
    exports = (line for line in told.stdout.splitlines() if line.startswith("export "))
    given = dict(line.removeprefix("export ").split("=", 1) for line in exports)
    environ = {name: value.strip("'") for name, value in given.items()}
    assert RegistrySettings.load(environ=environ).tls.enabled
