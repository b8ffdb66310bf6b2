"""Alerts, runbooks and dashboard speak of metrics that there are, wake when they should, say what helps."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "xdsi.json"
PACKAGES = ("registry", "repository", "imaging_source", "consumer", "gateway", "audit_repository", "shared")
PROMTOOL = shutil.which("promtool")
GO = shutil.which("go")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (apt-get install prometheus)"
)

#: Made by a call with the name as its first word; and those of all services.
_MADE = re.compile(
    r'(?:\.(?:gauge|level|gauges|levels|counter|counters)|Gauge|Counter|Histogram)\(\s*f?"(?:xdsi_)?(\w+)"'
)
_OURS = re.compile(r"\bxdsi_(\w+)")


def promtool(*words: str | Path, cwd: Path = PROMETHEUS) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *words], cwd=cwd, capture_output=True, text=True, check=False)


def alerts() -> dict[str, str]:
    """The expressions of the alerts, by their names."""
    groups = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text("utf-8"))["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def queries() -> Iterator[str]:
    """The expressions of the dashboard."""
    for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def metrics() -> set[str]:
    """What the services count, without the beginning `xdsi_`."""
    return {
        name
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for name in _MADE.findall(path.read_text("utf-8"))
    }


def asked(expressions: str) -> set[str]:
    """The metrics of ours that are asked for, as they are made."""
    return {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in _OURS.findall(expressions)}


def test_what_alerts_and_dashboard_ask_for_is_counted():
    told = asked("\n".join([*alerts().values(), *queries()]))
    assert len(told) > 10
    assert told <= metrics()


def test_what_the_page_of_metrics_tells_is_counted():
    told = asked((ROOT / "docs" / "alerts.md").read_text("utf-8"))
    assert len(told) > 10
    assert told <= metrics()


def test_each_alert_has_its_runbook_with_what_it_means_how_to_look_and_what_helps():
    text = (ROOT / "docs" / "runbooks.md").read_text("utf-8")
    sections = dict(re.findall(r"^## (\w+)$\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert sections.keys() == alerts().keys()
    for name, section in sections.items():
        assert re.findall(r"^\*\*(\w+):\*\*", section, re.MULTILINE) == ["Means", "Look", "Mend"], name


@needs_promtool
def test_alerts_wake_when_something_is_wrong_and_not_before():
    done = promtool("test", "rules", "alerts.test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    tested = (PROMETHEUS / "alerts.test.yaml").read_text("utf-8")
    assert {name for name in alerts() if tested.count(f"alertname: {name}") < 2} == set()


@needs_promtool
def test_the_queries_of_the_dashboard_can_be_asked(tmp_path: Path):
    rules = [{"record": f"panel_{number}", "expr": query} for number, query in enumerate(queries())]
    assert len(rules) > 10
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), "utf-8")
    done = promtool("check", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


# --- by Grafana's schema ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judge(long: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that knows the schema, made of what Grafana publishes for those who write dashboards."""
    if not long:
        pytest.skip("it is built from Go modules, which takes a minute: --long")
    if GO is None:
        pytest.skip("Go is not installed")
    program = tmp_path_factory.mktemp("grafana") / "judge"
    build = [GO, "build", "-o", str(program), "."]
    subprocess.run(build, cwd=Path(__file__).parent / "grafana", check=True, timeout=1700)
    return program


def judged(program: Path, dashboard: dict[str, Any]) -> str:
    """What is wrong with a dashboard; empty when nothing is."""
    done = subprocess.run([program], input=json.dumps(dashboard), capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.peer
@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_the_dashboard_is_one_by_the_schema_that_grafana_publishes(judge: Path):
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    assert judged(judge, dashboard) == ""
    for panel in dashboard["panels"]:
        panel["gridPos"]["width"] = 12
    assert "width" in judged(judge, dashboard)
