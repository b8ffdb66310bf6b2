"""A CT study of 500 instances of 512 KB in the viewer: Chromium in front of a community of real services.

From the click on a study to its first image, and until all of it can be scrolled, when nothing of it is at
hand: its source gives it by RAD-69. Against it stands the time that the same bytes take alone by the same
road: by curl from the consumer, of a study that is not at hand either. A consumer that became quicker
shortens both, and leaves what the browser itself takes; so beside it stands what the same bytes take by one
request from their source to the browser's machine, where nobody fetches, checks or seals them between. Then
the first image over a link as 4G is, with a round trip of 50 ms, beside one that is made small by the
consumer: by `tc netem` where the kernel has it, else by a proxy.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from playwright.sync_api import Error, Page

from bench.consumer import CONSUMER, ROOT, SOURCE, XDSI, community, curl
from bench.retrieve import INSTANCES, write_study
from bench.start import checkout, free_offset
from bench.support.far_away import far_away
from bench.support.report import Measure, options, show
from tests.support.viewing import browser, viewer_missing

FIRST_SECONDS, WHOLE_RATIO = 1.5, 1.3
ROUND_TRIP_SECONDS, WINDOW_BYTES = 0.05, 128 * 1024
#: The page notes its times itself; whoever asks it more often takes part of the processor.
POLL_SECONDS = 0.25
#: Notes in the page itself when an image is shown, and when the last one is at hand; from its navigation on.
_NOTES = """
new MutationObserver(() => {
  const pane = document.querySelector(".pane");
  if (!pane) return;
  const noted = (window.noted ??= {});
  if (pane.querySelector(".corner.image").textContent) noted.first ??= performance.now();
  if (pane.dataset.received === "%d") noted.whole ??= performance.now();
}).observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
"""


def prepare(folder: Path, patient: str) -> str:
    """A study of its own, published for a patient of its own; its UID."""
    files = folder / patient
    files.mkdir()
    study, *_ = write_study(files)
    for command in (
        ("patient", "add", patient, "--name", "Bench^One"),
        ("import", str(files)),
        ("publish", str(files), "--patient", patient),
    ):
        subprocess.run(
            (*XDSI, *command), cwd=folder, env=checkout(ROOT), check=True, stdout=subprocess.DEVNULL
        )
    return study


@contextmanager
def page() -> Iterator[Page]:
    """A page of a browser with nothing remembered."""
    with browser() as opened:
        context = opened.new_context(viewport={"width": 1280, "height": 800})
        context.set_default_timeout(300_000)
        context.add_init_script(_NOTES % INSTANCES)
        yield context.new_page()
        context.close()


def noted(of: Page, name: str) -> float:
    """Seconds after the click, as soon as they are noted."""
    while True:
        with suppress(Error):  # the page before went away while it was asked
            if (milliseconds := of.evaluate(f"window.noted?.{name}")) is not None:
                return float(milliseconds) / 1e3
        time.sleep(POLL_SECONDS)


def opened(base: str, patient: str) -> tuple[float, float]:
    """Seconds from the click to the first image, and until the whole study is at hand."""
    with page() as shown:
        shown.goto(base)
        shown.fill("[name=patient_id]", patient)
        shown.get_by_role("button", name="Find").click()
        shown.locator('a[href^="/studies/"]').first.click()
        shown.get_by_role("link", name="View the images").click()
        return noted(shown, "first"), noted(shown, "whole")


def found(base: str, patient: str) -> None:
    """Have a program look for the studies of a patient, before it asks for one of them."""
    address = f"{base}/dicomweb/studies?PatientID={patient}"
    subprocess.run(("curl", "-sf", "-o", "/dev/null", address), check=True)


def over_a_link(port: int, patient: str, study: str) -> tuple[float, float]:
    """Seconds to the first image over a long link, and to one that is made small, of a study at hand."""
    with far_away(port, round_trip_seconds=ROUND_TRIP_SECONDS, window_bytes=WINDOW_BYTES) as there:
        base = f"http://127.0.0.1:{there}"
        with page() as shown:
            address = f"requestType=STUDY&patientID={patient}&studyUID={study}"
            shown.goto(f"{base}/IHEInvokeImageDisplay?{address}", wait_until="commit")
            first = noted(shown, "first")
        found(base, patient)
        with tempfile.NamedTemporaryFile() as file:
            began = time.perf_counter()
            small = f"{base}/dicomweb/studies/{study}/thumbnail?viewport=256,256"
            subprocess.run(("curl", "-sf", "-H", "accept: image/jpeg", "-o", file.name, small), check=True)
            return first, time.perf_counter() - began


def without_netem() -> str:
    """Why this kernel has no links that are made longer; empty when it has."""
    tried = subprocess.run(
        ("unshare", "-n", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "25ms"),
        capture_output=True,
        text=True,
    )
    return tried.stderr.strip() if tried.returncode else ""


def measure(*, rounds: int) -> dict[str, Measure]:
    """All of it, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        offset = free_offset()
        port = CONSUMER + offset
        base = f"http://127.0.0.1:{port}"
        source = f"http://127.0.0.1:{SOURCE + offset}"
        alone, from_source, first, whole = [], [], [], []
        with community(folder, offset):
            for number in range(rounds):
                patients = (f"ALONE-{number}", f"VIEWED-{number}")
                studies = [prepare(folder, patient) for patient in patients]
                found(base, patients[0])
                alone.append(curl(f"{base}/dicomweb/studies/{studies[0]}", folder / "alone"))
                from_source.append(curl(f"{source}/dicomweb/studies/{studies[0]}", folder / "alone"))
                for seconds, into in zip(opened(base, patients[1]), (first, whole), strict=True):
                    into.append(seconds)
            far, small = over_a_link(port, patients[1], studies[1])
    bytes_alone = statistics.median(alone)
    return {
        "first image after the click": {
            "value": round(statistics.median(first), 2),
            "unit": "s",
            "against": f"{FIRST_SECONDS} s",
            "ratio": round(FIRST_SECONDS / statistics.median(first), 2),
        },
        "whole study scrollable": {
            "value": round(statistics.median(whole), 2),
            "unit": "s",
            "against": f"the bytes alone {bytes_alone:.2f} s, of which {WHOLE_RATIO} times is asked",
            "ratio": round(statistics.median(whole) / bytes_alone, 2),
            "from their source alone, s": round(statistics.median(from_source), 2),
        },
        "first image, 4G-like link": {
            "value": round(far, 2),
            "unit": "s",
            "against": f"one of 256 pixels, {small:.2f} s",
            "ratio": round(far / small, 2),
            "round trip, s": ROUND_TRIP_SECONDS,
            "window, bytes": WINDOW_BYTES,
            "no netem": without_netem() or "it is here; the proxy was measured all the same",
        },
    }


def main() -> None:
    """Measure and show."""
    arguments = options(__doc__, short="one round instead of three").parse_args()
    if reason := viewer_missing():
        sys.exit(f"skipped: {reason}")
    show(measure(rounds=1 if arguments.short else 3), as_json=arguments.json)


if __name__ == "__main__":
    main()
