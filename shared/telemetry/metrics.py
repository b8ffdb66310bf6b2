"""Prometheus counters and histograms of one service, without patient data.

Labels are made when the service is wired and never from a request, so that neither a patient nor a stranger
can get into them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector

from shared.telemetry.result import Result

__all__ = ["BUCKETS_SECONDS", "CONTENT_TYPE", "Metrics", "Result", "TransactionMetrics", "share_metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9 ._-]{0,47}")


class TransactionMetrics:
    """Counts one transaction; made once, when the service is wired."""

    def __init__(self, count: Counter, seconds: Histogram, transaction: str) -> None:
        self._counts = {result: count.labels(transaction, result.value) for result in Result}
        self._seconds = seconds.labels(transaction)

    def count(self, result: Result, seconds: float) -> None:
        """Count one that took `seconds`."""
        self._counts[result].inc()
        self._seconds.observe(seconds)

    @contextmanager
    def measure(self) -> Iterator[Callable[[Result], None]]:
        """Count what happens inside; call what is given with the result. An exception counts as ERROR."""
        began = perf_counter()
        result = Result.ERROR

        def end(with_result: Result) -> None:
            nonlocal result
            result = with_result

        try:
            yield end
        finally:
            self.count(result, perf_counter() - began)


_shared_folder: Path | None = None


def share_metrics(folder: Path, worker: int) -> None:
    """Keep the metrics of this process in `folder`, and show the sum of all workers' in any of them.

    To be called before the first `Metrics` is made. Files bear the number of the worker: one that is started
    again goes on counting where the one before ended. What belongs to a process, such as its memory, is not
    shown.
    """
    global _shared_folder  # prometheus_client keeps this for the whole process, too
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]
    _shared_folder = folder


class Metrics:
    """The metrics of one service: of its process, or the sum of all workers after `share_metrics`."""

    def __init__(self, service: str) -> None:
        self._registry = CollectorRegistry()
        self._folder = _shared_folder
        self.service = _checked(service)
        self._transactions: dict[str, TransactionMetrics] = {}
        self._read: list[tuple[Gauge, Callable[[], float]]] = []
        self._count = Counter(
            "xdsi_transactions",
            "Transactions answered",
            ("transaction", "outcome"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "xdsi_transaction_seconds",
            "Time from the end of the request to the beginning of the answer",
            ("transaction",),
            buckets=BUCKETS_SECONDS,
            registry=self._registry,
        )
        Gauge(
            "xdsi_service", "This service", ("service",), registry=self._registry, multiprocess_mode="max"
        ).labels(service).set(1)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def transaction(self, name: str) -> TransactionMetrics:
        """What counts the transaction `name`, for example `ITI-18`; the same for the same name."""
        if name not in self._transactions:
            self._transactions[name] = TransactionMetrics(self._count, self._seconds, _checked(name))
        return self._transactions[name]

    def ended(self) -> Mapping[Result, int]:
        """How many transactions of this process ended in each way."""
        ends = dict.fromkeys(Result, 0)
        for counter in self._count.collect():
            for sample in counter.samples:
                if sample.name.endswith("_total"):
                    ends[Result(sample.labels["outcome"])] += int(sample.value)
        return ends

    def gauge(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """Show `read()` as `xdsi_<name>` whenever metrics are asked for; it must not block.

        Of several workers the largest is shown, each as it was when it was asked last.
        """
        self._read.append((self.level(name, documentation), read))

    def level(self, name: str, documentation: str) -> Gauge:
        """A number that its owner sets, `xdsi_<name>`; of several workers the largest is shown."""
        return Gauge(f"xdsi_{name}", documentation, registry=self._registry, multiprocess_mode="max")

    def levels(self, name: str, documentation: str, label: str, of: Iterable[str]) -> dict[str, Gauge]:
        """As `level`, by `label`: for each of the names `of`, which are of the settings."""
        gauge = Gauge(
            f"xdsi_{name}", documentation, (label,), registry=self._registry, multiprocess_mode="max"
        )
        return {one: gauge.labels(one) for one in of}

    def gauges(
        self, name: str, documentation: str, label: str, reads: Mapping[str, Callable[[], float]]
    ) -> None:
        """Show `xdsi_<name>` by `label`, for each of `reads` by its name."""
        shown = self.levels(name, documentation, label, map(_checked, reads))
        self._read += ((shown[of], read) for of, read in reads.items())

    def counters(
        self, name: str, documentation: str, label: str, names: Iterable[str]
    ) -> dict[str, Callable[[], None]]:
        """`xdsi_<name>_total` by `label`: for each of `names` what counts one."""
        counter = Counter(f"xdsi_{name}", documentation, (label,), registry=self._registry)
        return {of: counter.labels(_checked(of)).inc for of in names}

    def counter(self, name: str, documentation: str) -> Counter:
        """A counter without labels, `xdsi_<name>_total`."""
        return Counter(f"xdsi_{name}", documentation, registry=self._registry)

    def render(self) -> bytes:
        """All of them in Prometheus' text format, `CONTENT_TYPE`."""
        for gauge, read in self._read:
            gauge.set(read())
        if self._folder is None:
            return generate_latest(self._registry)
        of_all = CollectorRegistry()
        MultiProcessCollector(of_all, str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(of_all)


def _checked(label: str) -> str:
    if not _LABEL.fullmatch(label):
        raise ValueError("a label is a short fixed name, such as ITI-18, made when the service is wired")
    return label
