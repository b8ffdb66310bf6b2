"""Counts and times of transactions, with labels that no request can choose."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.telemetry.metrics import Metrics, Result


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def count(metrics: Metrics, transaction: str, result: Result) -> float:
    labels = (("outcome", result.value), ("transaction", transaction))
    return samples(metrics)["xdsi_transactions_total", labels]


def test_a_transaction_is_counted_by_outcome_and_its_time_is_kept():
    metrics = Metrics("registry")
    iti18 = metrics.transaction("ITI-18")
    iti18.count(Result.SUCCESS, 0.004)
    iti18.count(Result.SUCCESS, 0.2)
    iti18.count(Result.FAULT, 0.001)

    assert count(metrics, "ITI-18", Result.SUCCESS) == 2
    assert count(metrics, "ITI-18", Result.FAULT) == 1
    assert count(metrics, "ITI-18", Result.ERROR) == 0
    found = samples(metrics)
    assert found["xdsi_transaction_seconds_sum", (("transaction", "ITI-18"),)] == pytest.approx(0.205)
    assert found["xdsi_transaction_seconds_bucket", (("le", "0.005"), ("transaction", "ITI-18"))] == 2


def test_what_is_measured_ends_as_it_says():
    metrics = Metrics("registry")
    with metrics.transaction("ITI-42").measure() as end:
        end(Result.FAILURE)
    assert count(metrics, "ITI-42", Result.FAILURE) == 1


def test_an_exception_counts_as_our_mistake():
    metrics = Metrics("registry")
    with pytest.raises(ZeroDivisionError), metrics.transaction("ITI-42").measure() as end:
        end(Result(Result.ERROR)) if 1 // 0 else None
    assert count(metrics, "ITI-42", Result.ERROR) == 1


def test_the_same_name_is_the_same_transaction():
    metrics = Metrics("registry")
    assert metrics.transaction("ITI-18") is metrics.transaction("ITI-18")


@pytest.mark.parametrize("name", ["", "1^^^&1.2.3&ISO", "Müller", "a\nb", "x" * 49])
def test_a_name_that_may_come_from_a_request_is_refused(name):
    with pytest.raises(ValueError, match="fixed name"):
        Metrics("registry").transaction(name)


def test_a_gauge_is_read_when_it_is_asked_for():
    metrics = Metrics("registry")
    waiting = [1, 2, 3]
    metrics.gauge("audit_waiting", "Events not yet delivered", lambda: len(waiting))
    waiting.append(4)
    assert samples(metrics)["xdsi_audit_waiting", ()] == 4


def test_a_counter_counts():
    metrics = Metrics("registry")
    refused = metrics.counter("tls_failures", "Nodes that failed to authenticate")
    refused.inc()
    assert samples(metrics)["xdsi_tls_failures_total", ()] == 1


def test_services_in_one_process_do_not_share_metrics():
    one, other = Metrics("registry"), Metrics("repository")
    one.transaction("ITI-18").count(Result.SUCCESS, 1)
    assert ("xdsi_service", (("service", "repository"),)) in samples(other)
    assert "ITI-18" not in other.render().decode()
