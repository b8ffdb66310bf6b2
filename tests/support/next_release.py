"""A later release of a service, as far as its schema goes: its revisions, and further ones."""

from __future__ import annotations

import shutil
import sys
from importlib.resources import as_file, files
from pathlib import Path
from uuid import uuid4

_STEP = '''"""A step of a later release."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None
additive = {additive}


def upgrade() -> None:
    {work}
'''


def next_release(folder: Path, migrations: str, *steps: tuple[str, bool]) -> str:
    """Migrations as `migrations`, and after them each of `steps`: what it does, and whether it only adds.

    Made below `folder`, which is put on the path of modules.
    """
    package, _, inner = migrations.partition(":")
    name = f"later_{uuid4().hex}"
    versions = folder / name / inner / "versions"
    with as_file(files(package) / inner) as made:
        shutil.copytree(made, versions.parent, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / name / "__init__.py").touch()
    newest = max(path.name[:4] for path in versions.glob("[0-9]*.py"))
    for work, additive in steps:
        revision = f"{int(newest) + 1:04d}"
        step = _STEP.format(revision=revision, before=newest, additive=additive, work=work)
        (versions / f"{revision}_later.py").write_text(step, "utf-8")
        newest = revision
    sys.path.insert(0, str(folder))
    return f"{name}:{inner}"
