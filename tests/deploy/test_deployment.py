"""The deployment files: what their own validators say, and that they speak of what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ragstone.engine import Ragstone
from ragstone.index.recall_keeper import ObservedRecall
from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.settings import Settings
from ragstone.stats import recall_gauges

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PYTHON = ROOT / ".venv-deploy" / "bin" / "python"
PROMTOOL = shutil.which("promtool")

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def checked() -> dict[str, Any]:
    """What `deploy/check.py` found and rendered."""
    if not PYTHON.exists():
        pytest.skip("no .venv-deploy with the validators (deploy/check.py says how)")
    done = subprocess.run(
        [PYTHON, DEPLOY / "check.py", "--json"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def of_kind(checked: dict[str, Any], values: str, kind: str) -> Manifest:
    """The one manifest of that kind which those values give."""
    (found,) = [m for m in checked["rendered"][f"{values}-values.yaml"] if m["kind"] == kind]
    manifest: Manifest = found
    return manifest


def pod(manifest: Manifest) -> Manifest:
    """The pod that a Deployment or CronJob makes."""
    spec = manifest["spec"]
    found: Manifest = (spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec)["template"]["spec"]
    return found


def environment(manifest: Manifest) -> dict[str, str]:
    """The variables of its container."""
    return {entry["name"]: entry["value"] for entry in pod(manifest)["containers"][0]["env"]}


def test_hadolint_compose_helm_and_kubernetes_find_nothing(checked: dict[str, Any]) -> None:
    assert checked["findings"] == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            "documented",
            {
                "FAISS_INDEX_TYPE": "HNSW",
                "FAISS_CONFIG_M": "32",
                "FAISS_CONFIG_EF_CONSTRUCTION": "200",
                "FAISS_CONFIG_EF_SEARCH": "64",
            },
        ),
        ("earlier", {"FAISS_INDEX_TYPE": "IVF", "FAISS_NLIST": "100", "FAISS_NPROBE": "10"}),
        ("minimal", {}),
    ],
)
def test_the_documented_values_become_the_documented_variables(
    checked: dict[str, Any], values: str, expected: dict[str, str]
) -> None:
    found = environment(of_kind(checked, values, "Deployment"))
    assert {name: value for name, value in found.items() if name.startswith("FAISS_")} == expected


def test_settings_become_variables_with_their_numbers_whole(checked: dict[str, Any]) -> None:
    for kind in ("Deployment", "CronJob"):
        found = environment(of_kind(checked, "full", kind))
        assert found["RAGSTONE_MAX_FILE_BYTES"] == "100000000"
        assert found["RAGSTONE_RECALL"] == "0.98"
        assert found["RAGSTONE_ENABLE_STREAMING"] == "false"
        hosts = found["RAGSTONE_ALLOWED_HOSTS"].split(",")
        assert hosts[0] == of_kind(checked, "full", "Service")["metadata"]["name"]
        assert {"docs.example.org", "search.internal"} <= set(hosts)


def test_probes_ask_what_the_service_answers_under_a_name_that_it_knows(checked: dict[str, Any]) -> None:
    container = pod(of_kind(checked, "minimal", "Deployment"))["containers"][0]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/health/startup",
        "readiness": "/health/ready",
        "liveness": "/health/live",
    }
    assert all(probe["httpHeaders"] == [{"name": "Host", "value": "localhost"}] for probe in probes.values())


def test_replicas_share_one_volume_on_one_node(checked: dict[str, Any]) -> None:
    claims = set()
    for kind in ("Deployment", "CronJob"):
        spec = pod(of_kind(checked, "full", kind))
        claims |= {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in spec["volumes"]
            if volume["name"] == "data"
        }
        (rule,) = spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert rule["topologyKey"] == "kubernetes.io/hostname"
        labels = of_kind(checked, "full", "Deployment")["spec"]["template"]["metadata"]["labels"]
        assert rule["labelSelector"]["matchLabels"].items() <= labels.items()
    assert claims == {of_kind(checked, "full", "PersistentVolumeClaim")["metadata"]["name"]}


def test_the_autoscaler_alone_says_how_many_there_are(checked: dict[str, Any]) -> None:
    deployment = of_kind(checked, "full", "Deployment")
    assert "replicas" not in deployment["spec"]
    scaler = of_kind(checked, "full", "HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert of_kind(checked, "minimal", "Deployment")["spec"]["replicas"] == 1


def test_requests_and_the_budget_are_for_replicas_not_for_the_indexing_job(checked: dict[str, Any]) -> None:
    job = of_kind(checked, "full", "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    served = of_kind(checked, "full", "Deployment")["spec"]["template"]["metadata"]["labels"]
    service = of_kind(checked, "full", "Service")["spec"]["selector"]
    budget = of_kind(checked, "full", "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    for selector in (service, budget):
        assert selector.items() <= served.items()
        assert not selector.items() <= job.items()


def test_nothing_runs_as_root_or_writes_beside_its_volumes(checked: dict[str, Any]) -> None:
    for kind in ("Deployment", "CronJob"):
        spec = pod(of_kind(checked, "full", kind))
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        container = spec["containers"][0]["securityContext"]
        assert container["readOnlyRootFilesystem"] is True
        assert container["allowPrivilegeEscalation"] is False
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith(("USER", "EXPOSE"))] == [
        "USER 10001:10001",
        "EXPOSE 8000",
    ]


def test_every_setting_that_the_files_name_is_one() -> None:
    texts = [
        path.read_text()
        for path in DEPLOY.rglob("*")
        if path.suffix in {".yaml", ".tpl", ""} and path.is_file()
    ]
    named = {name.lower() for text in texts for name in re.findall(r"\bRAGSTONE_([A-Z_]+[A-Z])\b", text)}
    assert {"data_dir", "host", "port", "cache_redis_url"} <= named
    assert named <= set(Settings.model_fields)


def test_the_image_has_the_versions_of_the_lock_and_every_package_of_the_extra() -> None:
    pinned = re.compile(r"^([a-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)
    image = dict(pinned.findall((DEPLOY / "requirements.txt").read_text()))
    lock = dict(pinned.findall((ROOT / "requirements.lock").read_text()))
    assert {name: lock.get(name) for name in image} == image, (
        "make deploy/requirements.txt anew (its head says how)"
    )
    project = (ROOT / "pyproject.toml").read_text().partition("[project.scripts]")[0]
    runtime = project.partition("dev = [")[0]
    needed = {
        name.lower() for name in re.findall(r'"([A-Za-z0-9-]+)(?:\[[a-z,]+\])?(?:[<>=]=)[^"]*"', runtime)
    }
    needed -= {"hatchling"}
    assert needed
    assert needed <= set(image), "make deploy/requirements.txt anew (its head says how)"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The figures of an engine that has searched, answered and checked its recall."""
    monitor = PerformanceMonitor(folder=tmp_path_factory.mktemp("data"))
    monitor.observe("search", 5.0, {"embed": 1.0})
    monitor.observe("ask", 5.0, {"first_token": 1.0})
    monitor.record_error("search")
    monitor.add_gauges(lambda: recall_gauges({"papers": ObservedRecall(30, 0.9, 0.99)}, wanted=0.98))
    return monitor.to_prometheus()


def test_every_figure_of_the_dashboard_is_exported(exported: str) -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "ragstone.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += [
        entry["query"]["query"] for entry in dashboard["templating"]["list"] if entry["name"] != "datasource"
    ]
    named = {name for text in expressions for name in re.findall(r"\b(?:ragstone|process)_[a-z_]+", text)}
    samples = {line.partition("{")[0].partition(" ")[0] for line in exported.splitlines() if line[0] != "#"}
    assert len(named) > 8
    assert named <= samples
    labels = {label for text in expressions for label in re.findall(r'(\w+)=~?"', text)} - {"instance", "job"}
    assert labels == {"operation", "stage", "outcome"}
    assert all(f'{label}="' in exported for label in labels)


def test_no_two_panels_overlap() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "ragstone.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not installed")
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    for path in (DEPLOY / "prometheus").iterdir():
        text = path.read_text().replace("/run/secrets/metrics_key", str(tmp_path / "key"))
        (tmp_path / path.name).write_text(text)
    (tmp_path / "key").write_text("rgs")
    done = subprocess.run(
        [str(PROMTOOL), "check", "config", tmp_path / "prometheus.yml"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_healthcheck_of_the_image_passes_and_fails(tmp_path: Path) -> None:
    from hashing_embedder import HashingEmbedder
    from server.live import running

    written = (DEPLOY / "Dockerfile").read_text().partition("CMD [")[2].partition("\n")[0]
    program, option, code = json.loads("[" + written)
    assert (program, option) == ("python", "-c")
    command = [sys.executable, "-c", code]
    with Ragstone(tmp_path, embedder=HashingEmbedder()) as engine, running(engine) as live:
        port = {"RAGSTONE_PORT": str(live.port)}
        assert subprocess.run(command, env=port, timeout=30, check=False).returncode == 0
    gone = subprocess.run(command, env=port, timeout=30, check=False, stderr=subprocess.DEVNULL)
    assert gone.returncode != 0
