"""The notebook of the docs, run as it stands: from this checkout, and from a wheel in an environment of its
own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import venv
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from tests.peers.test_consumer_service import prepared
from tests.support.community import running, studies_in
from xdsi.builtin_study import PATIENT_ID, write_study
from xdsi.remembered import remember

pytestmark = [pytest.mark.heavy]

ROOT = Path(__file__).parents[2]
NOTEBOOK = json.loads((ROOT / "docs" / "notebook.ipynb").read_text("utf-8"))
CELLS: list[dict[str, Any]] = [one for one in NOTEBOOK["cells"] if one["cell_type"] == "code"]
#: Runs cells in one namespace, as a kernel does, and tells what each gives.
_KERNEL = """
import ast, contextlib, io, json, sys
import consumer
told, names = [], {}
for source in json.load(sys.stdin):
    *body, last = ast.parse(source).body
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        value = None
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        else:
            exec(compile(ast.Module([last], []), "cell", "exec"), names)
    png = io.BytesIO()
    if value is not None and hasattr(value, "save"):
        value.save(png, "PNG")
    told.append([out.getvalue(), png.getvalue().hex()])
print(json.dumps([consumer.__file__, told]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where `xdsi up` would run a community that has published its built-in study."""
    written = tmp_path_factory.mktemp("study")
    write_study(written)
    (study,) = studies_in(written)
    with running(tmp_path_factory.mktemp("community"), tls=False) as stage:
        asyncio.run(prepared(stage, {PATIENT_ID: study}))
        here = tmp_path_factory.mktemp("notebook")
        assert remember(here, stage.folder / "south.toml")
        yield here


def executed(folder: Path, python: str, **environment: str) -> str:
    """Where the library came from that every cell ran with, and gave what the notebook shows."""
    ended = subprocess.run(
        [python, "-c", _KERNEL],
        input=json.dumps(["".join(cell["source"]) for cell in CELLS]),
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "XDG_STATE_HOME": str(folder / "state"), **environment},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    library, told = json.loads(ended.stdout)
    for cell, (text, png) in zip(CELLS, told, strict=True):
        shown = {kind: one for one in cell["outputs"] for kind, one in one.get("data", {}).items()}
        assert text == "".join(line for one in cell["outputs"] for line in one.get("text", ()))
        assert bool(png) == ("image/png" in shown)
        if png:
            assert (pixels(bytes.fromhex(png)) == pixels(b64decode(shown["image/png"]))).all()
    return str(library)


def pixels(png: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(BytesIO(png)))


def test_the_notebook_gives_what_it_shows(folder: Path):
    assert sum(len("".join(cell["source"]).split("\n")) for cell in CELLS) <= 14

    library = executed(folder, sys.executable, PYTHONPATH=str(ROOT))

    assert Path(library).is_relative_to(ROOT)


def test_a_newcomer_runs_it_from_a_wheel(folder: Path, tmp_path: Path, long: bool):
    """With `--long` in an environment that was empty before; else with the libraries that are here."""
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "wheels")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=long)
    python = environment / "bin" / "python"
    if long:
        subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)
        library = executed(folder, str(python))
    else:
        libraries = next(path for path in map(Path, sys.path) if path.name == "site-packages")
        with ZipFile(wheel) as archive:
            archive.extractall(tmp_path / "ours")
        library = executed(folder, str(python), PYTHONPATH=f"{tmp_path / 'ours'}{os.pathsep}{libraries}")

    assert Path(library).is_relative_to(tmp_path)
