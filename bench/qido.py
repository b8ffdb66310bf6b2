"""Searches for studies by QIDO-RS over loopback, in an archive of 10,000 studies and in one of 1,000,000.

A real imaging source (consent asked, audit events durable) on SQLite. One study is stored; the others are
made of its rows by SQL, each of a patient of its own, with one series and one instance.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.retrieve import services
from bench.support.peers import peak_rss_mb
from bench.support.report import options, show
from shared.store.opening import sqlite_path
from xdsi.builtin_study import write_study
from xdsi.community import start_all, stop_all
from xdsi.import_ import send_files

_DAYS = 2000
_PAGE = 25
# What differs from study to study, by column.
_VALUES = {
    "study_instance_uid": "printf('2.25.7%08d', number)",
    "series_instance_uid": "printf('2.25.8%08d', number)",
    "sop_instance_uid": "printf('2.25.9%08d', number)",
    "patient_id": "printf('P%08d', number)",
    "patient_name": "printf('name%08d^of', number)",
    "accession_number": "printf('A%08d', number)",
    "study_date": f"strftime('%Y%m%d', '2020-01-01', (number % {_DAYS}) || ' days')",
    "received_at": "strftime('%Y-%m-%dT%H:%M:%S.000000+00:00', '2020-01-01', number || ' seconds')",
}


# Where the attributes of a study name what differs.
_PLACES = {
    "0020000D": ("UI", "@study", _VALUES["study_instance_uid"]),
    "00100020": ("LO", "@patient", _VALUES["patient_id"]),
    "00100010": ("PN", "@name", _VALUES["patient_name"]),
    "00080050": ("SH", "@accession", _VALUES["accession_number"]),
}


def fill(file: Path, first: int, last: int) -> None:
    """Make studies of the numbers `first` to `last` of the one that is there."""
    numbers = f"WITH RECURSIVE made(number) AS (SELECT {first} UNION ALL SELECT number + 1 FROM made LIMIT ?)"
    with closing(sqlite3.connect(file)) as index:
        for table in ("instance", "series", "study"):
            columns = [row[1] for row in index.execute(f"PRAGMA table_info({table})")]
            made = dict(_VALUES)
            if table == "study":
                made["attributes"] = _attributes(index)
            values = [made.get(column, f"one.{column}") for column in columns]
            index.execute(
                f"{numbers} INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM made,"
                f" (SELECT * FROM {table} WHERE study_instance_uid NOT LIKE '2.25.7%' LIMIT 1) AS one",
                (last - first + 1,),
            )
        index.commit()
        index.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _attributes(index: sqlite3.Connection) -> str:
    """An expression for the attributes of a study: those of the first one, with what differs put in."""
    [(octets,)] = index.execute(
        "SELECT attributes FROM study WHERE study_instance_uid NOT LIKE '2.25.7%' LIMIT 1"
    )
    attributes = json.loads(octets)
    for tag, (vr, place, _) in _PLACES.items():
        attributes[tag] = {"vr": vr, "Value": [{"Alphabetic": place} if vr == "PN" else place]}
    text = "'" + json.dumps(attributes).replace("'", "''") + "'"
    for _, place, value in _PLACES.values():
        text = f"replace({text}, '{place}', {value})"
    return f"CAST({text} AS BLOB)"


def searches(studies: int, number: int) -> Iterator[tuple[str, str]]:
    """The searches that are measured, each with its name; `number` chooses the study."""
    which = number * 7919 % studies
    yield "patient", f"PatientID=P{which:08}"
    yield "accession", f"AccessionNumber=A{which:08}"
    yield "study", f"StudyInstanceUID=2.25.7{which:08}"
    yield "name", f"PatientName=Name{which:08}*"
    yield "page", f"limit={_PAGE}"


async def ask(base: str, studies: int, rounds: int) -> dict[str, float]:
    """The median of milliseconds until the answer, for each search."""
    seen: dict[str, list[float]] = {}
    async with httpx2.AsyncClient() as http:
        for number in range(rounds):
            for name, question in searches(studies, number):
                began = time.perf_counter()
                answer = await http.get(f"{base}/studies?{question}")
                elapsed = time.perf_counter() - began
                assert answer.status_code == httpx2.codes.OK, answer.text
                assert len(answer.json()) == (_PAGE if name == "page" else 1), (question, answer.text[:500])
                if number >= rounds // 10:
                    seen.setdefault(name, []).append(elapsed * 1000)
    return {name: statistics.median(values) for name, values in seen.items()}


def measure(sizes: tuple[int, int], rounds: int) -> dict[str, dict[str, object]]:
    """All measures by name."""
    with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name:
        folder = Path(name)
        settings, members = services(folder, {"XDSI_IMAGING_SOURCE__DRIFT_CHECKS_PER_MINUTE": "0"})
        file = sqlite_path(None, settings.folder, settings.service)
        medians, filled, rss = [], 0, 0.0
        try:
            list(start_all(members))
            asyncio.run(send_files(settings, write_study(folder / "study")[:1]))
            for size in sizes:
                stop_all(members)
                fill(file, filled, size - 1)
                filled = size
                list(start_all(members))
                medians.append(asyncio.run(ask(settings.dicomweb_url, size, rounds)))
                rss = peak_rss_mb(members[-1].pid)
        finally:
            stop_all(members)
    small, large = medians
    return {
        f"studies_by_{name}": {
            "value": round(large[name], 2),
            "unit": "ms",
            "against": f"{sizes[0]} studies {small[name]:.2f} ms; here {sizes[1]}",
            "ratio": round(large[name] / small[name], 2),
            "peak_rss_mb": round(rss, 1),
        }
        for name in large
    }


def main() -> None:
    """Measure and print."""
    given = options(__doc__, short="1,000 and 20,000 studies").parse_args()
    sizes = (1_000, 20_000) if given.short else (10_000, 1_000_000)
    show(measure(sizes, 60 if given.short else 300), as_json=given.json)


if __name__ == "__main__":
    main()
