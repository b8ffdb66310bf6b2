"""The chart: what it renders for three communities, that Kubernetes would take it, and what it refuses.

What is rendered stands in `golden`. After a change that is meant, WRITE_GOLDEN=1 in the environment writes it
anew: look at the difference.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from shared.settings.loading import variables
from xdsi.services import Service

HERE = Path(__file__).parent
CHART = HERE.parents[1] / "deploy" / "helm" / "xdsi"
GOLDEN = HERE / "golden"
VALUES = sorted((HERE / "values").glob("*.yaml"))
KUBERNETES = ("1.29", "1.33")
#: Of other projects; no schema of Kubernetes has it.
FOREIGN = "cert-manager.io/v1"

HELM = shutil.which("helm")
VALIDATE = shutil.which("kubernetes-validate")
needs_helm = pytest.mark.skipif(
    HELM is None, reason="helm is not installed (go install helm.sh/helm/v3/cmd/helm@v3.19.0)"
)
needs_validate = pytest.mark.skipif(
    VALIDATE is None, reason="kubernetes-validate is not installed (pip install kubernetes-validate)"
)


def template(values: Path, *changes: str) -> subprocess.CompletedProcess[str]:
    assert HELM is not None
    command = [HELM, "template", "community", str(CHART), "--namespace", "hospital", "--values", str(values)]
    command += ["--kube-version", f"{KUBERNETES[-1]}.0", *(f"--set={change}" for change in changes)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rendered(values: Path) -> str:
    done = template(values)
    assert done.returncode == 0, done.stderr
    return done.stdout


def values_named(name: str) -> Path:
    return HERE / "values" / f"{name}.yaml"


@needs_helm
@pytest.mark.parametrize("values", VALUES, ids=lambda values: values.stem)
def test_the_chart_is_clean(values: Path):
    assert HELM is not None
    lint = subprocess.run(
        [HELM, "lint", "--strict", str(CHART), "--values", str(values)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert lint.returncode == 0, lint.stdout + lint.stderr


@needs_helm
@pytest.mark.parametrize("values", VALUES, ids=lambda values: values.stem)
def test_what_is_rendered_is_what_was_looked_at(values: Path):
    golden = GOLDEN / values.name
    text = rendered(values)
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(text, "utf-8")
    assert text == golden.read_text("utf-8")


@needs_validate
@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", VALUES, ids=lambda values: values.stem)
def test_two_versions_of_kubernetes_would_take_what_is_rendered(values: Path, version: str, tmp_path: Path):
    objects = (GOLDEN / values.name).read_text("utf-8").split("\n---\n")
    ours = tmp_path / "objects.yaml"
    ours.write_text("\n---\n".join(one for one in objects if FOREIGN not in one), "utf-8")
    assert VALIDATE is not None
    done = subprocess.run(
        [VALIDATE, "--strict", "-k", version, str(ours)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout + done.stderr


@pytest.mark.parametrize("values", VALUES, ids=lambda values: values.stem)
def test_every_pod_is_closed_and_asked_for_its_life_alone(values: Path):
    text = (GOLDEN / values.name).read_text("utf-8")
    pods = text.count("  containers:\n")
    assert pods >= 5
    for line in (
        "runAsNonRoot: true", "readOnlyRootFilesystem: true", "allowPrivilegeEscalation: false",
        "drop: [ALL]", "enableServiceLinks: false", "automountServiceAccountToken: false",
        "readinessProbe:", "livenessProbe:", "startupProbe:",
    ):  # fmt: skip
        assert text.count(line) == pods, line
    assert text.count("kind: PodDisruptionBudget") == pods
    assert text.count("path: /health/live") == 2 * pods
    assert "path: /health/ready" not in text


@needs_helm
@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("small", "services.registry.replicas=2", "name database.secretName"),
        ("region", "s3.bucket=", "name s3.bucket"),
        ("small", "services.imaging-source.replicas=2", "name database.secretName"),
        ("region", "services.imaging-source.storage.size=,s3.bucket=", "needs s3.bucket"),
        ("region", "services.audit-repository.replicas=2", "audit-repository"),
        ("region", "s3.secretName=", "access-key and secret-key"),
        ("small", "tls.secretName=", "name a Secret with tls.crt, tls.key and ca.crt"),
        ("small", "services.registry.storage.size=", "without a volume it needs database.secretName"),
        ("small", "settings.XDSI_DATABASE_URL=postgresql://u:p@db/xdsi", "XDSI_DATABASE_URL"),
        ("small", "services.repository.settings.XDSI_S3__SECRET_KEY=s", "XDSI_S3__SECRET_KEY"),
        ("small", "services.registri.enabled=true", "registri"),
        ("small", "community.homeCommunityId=2.999", "homeCommunityId"),
    ],
)
def test_what_would_not_work_is_refused_before_it_is_installed(name: str, change: str, told: str):
    done = template(values_named(name), change)
    assert done.returncode != 0
    assert told in done.stderr


@needs_helm
@pytest.mark.parametrize("values", VALUES, ids=lambda values: values.stem)
def test_what_the_services_are_given_are_settings(values: Path):
    """A name that no service knows would keep every pod from starting."""
    names = {
        line.removeprefix("- name: ")
        for line in map(str.strip, rendered(values).splitlines())
        if line.startswith("- name: XDSI_")
    }
    known = {name for service in Service for name in variables(service.settings_class())}
    assert len(names) > 10
    assert names <= known
