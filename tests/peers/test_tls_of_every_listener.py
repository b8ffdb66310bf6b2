"""TLS of every listener by BCP 195, judged by OpenSSL's own client: old versions and weak suites are refused,
a revoked certificate too, by list and by responder, and a renewed one is shown without a restart."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from shared.security import tls as module
from shared.security.responders import responders
from tests.support.every_door import a_house
from tests.support.ocsp import certificate_of, responder
from tests.support.waiting import until
from xdsi.certificates import Community, Pair, create_community, create_node, renew, revoke

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl"),
]

GOOD = (
    ("-tls1_3",),
    ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"),
)
WEAK = (
    ("-tls1", "-cipher", "ALL:@SECLEVEL=0"),
    ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
    ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0"),
    ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"),
    ("-tls1_2", "-cipher", "AECDH-AES128-SHA:@SECLEVEL=0"),
    ("-tls1_2", "-cipher", "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0"),
)


async def shaken(port: int, community: Community, node: str, *options: str) -> str:
    """What OpenSSL's client says of a connection, which it holds for a moment."""
    client = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(community.trust), "-state",
        "-cert", str(community.folder / f"{node}.pem"), "-key", str(community.folder / f"{node}.key"),
        *options,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert client.stdin is not None
    assert client.stdout is not None
    said = b""
    try:
        async with asyncio.timeout(1.5):
            while chunk := await client.stdout.read(65_536):
                said += chunk
    except TimeoutError:
        said += b"\nSTILL OPEN"
        client.kill()
    await client.wait()
    return said.decode("utf-8", "replace")


def is_open(said: str) -> bool:
    return "STILL OPEN" in said and "Cipher is (NONE)" not in said and "SSL handshake has read" in said


async def test_every_listener_takes_what_bcp_195_asks_for_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    community = create_community(tmp_path / "certificates", "Own")
    stolen = create_node(community.folder, "stolen", authority=community.authority, file_name="stolen")
    lost = create_node(community.folder, "lost", authority=community.authority, file_name="lost")
    trust = community.settings()
    known = [certificate_of(one.certificate) for one in (community.node, stolen)]
    there = responder(tmp_path, certificate_of(lost.certificate), of=community, good=known)
    with there as ocsp_url:
        trust["tls"] |= {
            "revocation": "hard",
            "revocation_lists": str(revoke(community.folder)),
            "ocsp": True,
            "ocsp_url": ocsp_url,
            "ocsp_staple": True,
        }
        await _looked_at(tmp_path, community, stolen, trust)


async def _looked_at(folder: Path, community: Community, stolen: Pair, trust: dict[str, Any]) -> None:
    async with a_house(folder, trust) as house:

        async def by_listener(node: str, *options: str) -> dict[str, str]:
            names, ports = zip(*house.listeners.items(), strict=True)
            said = await asyncio.gather(*(shaken(port, community, node, *options) for port in ports))
            return dict(zip(names, said, strict=True))

        for options in GOOD:
            said = await by_listener("node", *options)
            assert [name for name, text in said.items() if not is_open(text)] == [], options
        for options in WEAK:
            said = await by_listener("node", *options)
            assert [name for name, text in said.items() if is_open(text)] == [], options

        await until(lambda: responders(trust["tls"]["ocsp_url"], with_nonce=False).outcomes["good"] > 0, 60)
        said = await by_listener("node", "-status")
        assert [name for name, text in said.items() if "Cert Status: good" not in text] == []
        # What a responder is asked first is answered while the connection stands.
        await by_listener("lost")
        await until(lambda: responders(trust["tls"]["ocsp_url"]).outcomes["revoked"] > 0, 60)
        said = await by_listener("lost")
        assert [name for name, text in said.items() if is_open(text)] == []

        renew(community.folder, new_key=True)
        said = await by_listener("node", "-showcerts")
        shown = (community.folder / "node.pem").read_text().split("-----")[2].strip()
        assert [name for name, text in said.items() if shown not in text] == []

        revoke(community.folder, stolen.certificate)
        said = await by_listener("stolen")
        assert [name for name, text in said.items() if is_open(text)] == []
        said = await by_listener("node")
        assert [name for name, text in said.items() if not is_open(text)] == []
