"""What of a package of OHIF is installed: the release that is known, with its addresses changed."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from consumer.store import ohif
from consumer.store.ohif import BASE, WrongRelease, install, installed
from xdsi.ohif import command

FILES = {
    "package/LICENSE": b"MIT",
    "package/dist/app.bundle.0f.js": b'__webpack_require__.p = "/"; '
    b'__webpack_require__.p + "assets/images/CT.png"',
    "package/dist/app.bundle.css": b"@font-face { src: url(/a.woff2) }",
    "package/dist/assets/images/CT.png": b"png",
    "package/dist/app-config.js": b"theirs",
    "package/dist/sw.js": b"worker",
    "package/dist/index.html": b"theirs",
    "package/dist/ort/model.wasm": b"deeper",
    "package/dist/../../../../escaped.js": b"outside",
    "package/package.json": b"{}",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "ohif.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, octets in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(octets)
            archive.addfile(member, io.BytesIO(octets))
    monkeypatch.setattr(ohif, "DIGEST", hashlib.sha512(path.read_bytes()).hexdigest())
    return path


def test_its_files_lie_where_their_addresses_say(package: Path, tmp_path: Path):
    folder = install(package, tmp_path / "data")

    release = installed(tmp_path / "data")
    assert release is not None
    assert (release.folder, release.script, release.style) == (folder, "app.bundle.0f.js", "app.bundle.css")
    assert {name for name in release.sizes if not name.endswith(".gz")} == {
        "LICENSE",
        "CT.png",
        "app.bundle.0f.js",
        "app.bundle.css",
    }
    script = (folder / release.script).read_text()
    assert f'__webpack_require__.p = "{BASE}"' in script
    assert '__webpack_require__.p + "CT.png"' in script
    assert (folder / release.style).read_text() == f"@font-face {{ src: url({BASE}a.woff2) }}"
    assert not (tmp_path / "escaped.js").exists()


def test_another_file_is_refused_and_what_was_there_stays(package: Path, tmp_path: Path):
    install(package, tmp_path / "data")
    other = tmp_path / "other.tgz"
    other.write_bytes(package.read_bytes() + b"\0")

    with pytest.raises(WrongRelease, match="its SHA-512 is another one"):
        install(other, tmp_path / "data")

    assert installed(tmp_path / "data") is not None


def test_it_is_installed_again_in_the_place_of_what_was_there(package: Path, tmp_path: Path):
    (tmp_path / "data" / "ohif" / "1.0.0").mkdir(parents=True)
    install(package, tmp_path / "data")
    install(package, tmp_path / "data")

    assert [path.name for path in (tmp_path / "data" / "ohif").iterdir()] == [ohif.VERSION]


def test_none_is_installed_where_none_is(tmp_path: Path):
    assert installed(tmp_path) is None


def test_the_command_says_what_would_be_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDSI_DATA", str(tmp_path / "data"))
    wrong = tmp_path / "wrong.tgz"
    wrong.write_bytes(b"something")
    app = typer.Typer()
    app.command()(command)

    ended = CliRunner().invoke(app, [str(wrong)])

    assert "npm pack @ohif/app@3.13.2" in str(ended.exception)
    assert not (tmp_path / "data").exists()
