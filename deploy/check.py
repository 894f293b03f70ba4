"""Check the deployment files with the validators of their own kind, named in `validators.txt`.

    python3 -m venv .venv-deploy && .venv-deploy/bin/pip install --require-hashes -r deploy/validators.txt
    .venv-deploy/bin/python deploy/check.py

hadolint reads the Dockerfile, a Compose parser the compose file, Helm's own library lints and renders the chart with
each file in its `ci/`, and what it renders is held against the schemas of Kubernetes. Prints one finding a line; exit
status 1 if there is any. With `--json` also the rendered manifests. Nothing is built, no cluster asked.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compose_spec
import helm_python as helm
import kubernetes_validate
import yaml

DEPLOY = Path(__file__).resolve().parent
CHART = DEPLOY / "helm" / "ragstone"
KUBERNETES_VERSIONS = ("1.25", "1.33")  # the oldest that Chart.yaml names, and a current one
INFO = 1  # severity of hints in `helm lint`
FOREIGN_KINDS = {"ServiceMonitor"}  # of the Prometheus operator: no schema of Kubernetes


def dockerfile_findings() -> Iterator[str]:
    """What hadolint says."""
    program = Path(sys.executable).with_name("hadolint")
    found = subprocess.run(
        [
            program if program.exists() else shutil.which("hadolint") or "hadolint",
            "--no-color",
            DEPLOY / "Dockerfile",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    yield from found.stdout.splitlines() + found.stderr.splitlines()


def compose_findings() -> Iterator[str]:
    """Whether the compose file follows the Compose specification and names only what it defines."""
    try:
        compose_spec.PyCompose.from_yaml((DEPLOY / "compose.yaml").read_text()).validate()
    except ValueError as error:
        yield f"compose.yaml: {error}"


def lint_findings() -> Iterator[str]:
    """What `helm lint` says, hints about icons left out."""
    for values in sorted((CHART / "ci").glob("*-values.yaml")):
        report = helm.lint(str(CHART), values=yaml.safe_load(values.read_text()))
        for message in report["messages"]:
            if message["severity"] > INFO:
                yield f"{values.name}: {message['path']}: {message['error']}"


def rendered() -> dict[str, list[dict[str, Any]]]:
    """The manifests that each file of values gives, by its name."""
    found = {}
    with helm.Chart.load(str(CHART)) as chart:
        for path in sorted((CHART / "ci").glob("*-values.yaml")):
            values = yaml.safe_load(path.read_text())
            chart.validate_schema(values)
            files = chart.render(values, name="demo", namespace="papers")
            texts = [text for name, text in sorted(files.items()) if name.endswith(".yaml")]
            found[path.name] = [
                manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest is not None
            ]
    return found


def manifest_findings(manifests: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Where a manifest is not of its kind's form, unknown fields included."""
    for name, listed in manifests.items():
        for manifest in listed:
            if manifest["kind"] in FOREIGN_KINDS:
                continue
            for version in KUBERNETES_VERSIONS:
                try:
                    kubernetes_validate.validate(manifest, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    yield f"{name}: {manifest['kind']} against {version}: {error}"


def main() -> int:
    """Print what was found."""
    manifests = rendered()
    findings = [
        *dockerfile_findings(),
        *compose_findings(),
        *lint_findings(),
        *manifest_findings(manifests),
    ]
    if "--json" in sys.argv:
        print(json.dumps({"findings": findings, "rendered": manifests}))
    else:
        print("\n".join(findings) or "no finding")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
