"""What a command reads before it does anything: settings need no images, databases or web framework."""

from __future__ import annotations

import subprocess
import sys

from xdsi.services import Service

HEAVY = ("PIL", "fastapi", "numpy", "pydicom", "pynetdicom", "sqlalchemy")
#: Commands that ask a service, or read files of their own, by their modules.
LIGHT = ("audit", "consent", "erase", "fetch", "find", "import_", "node", "patient", "publish", "up")


def read_with(modules: str) -> list[str]:
    said = f"import sys, {modules}; print(*sorted(sys.modules.keys() & {set(HEAVY)!r}))"
    run = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_settings_of_every_service_are_read_without_them():
    assert read_with(", ".join(f"{service.package}.settings" for service in Service)) == []


def test_commands_that_ask_a_service_are_read_without_them():
    assert read_with(", ".join(f"xdsi.{name}" for name in LIGHT)) == []
