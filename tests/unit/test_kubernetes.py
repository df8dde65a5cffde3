"""The Kubernetes manifests, held against the code: commands, ports, settings, groups. Whether they are valid
Kubernetes is for kubeconform to say (infra/kubernetes/README.md)."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.grafana import export
from schemas import settings as configuration
from schemas.settings import ClickHouse, Settings
from serving.intake import group_of
from streams import registry
from streams.storage import grants
from tests.certificates import PEM
from tests.unit.test_containers import health_ports, known_variables, understood

KUBERNETES = Path(__file__).parent.parent.parent / "infra" / "kubernetes"
BASE = KUBERNETES / "base"
FILES = sorted(KUBERNETES.rglob("*.yaml"))


def documents(*kinds: str) -> Iterator[dict[str, Any]]:
    """The base's resources of these kinds."""
    for file in sorted(BASE.glob("*.yaml")):
        yield from (found for found in yaml.safe_load_all(file.read_text()) if found["kind"] in kinds)


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Of every deployment its name without `headgate-`, and its container."""
    for deployment in documents("Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        yield deployment["metadata"]["name"].removeprefix("headgate-"), container


def house() -> dict[str, Any]:
    """What all pods get."""
    found: dict[str, Any] = yaml.safe_load((BASE / "house" / "pod.yaml").read_text())["spec"]["template"][
        "spec"
    ]
    return found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of the base, with a certificate that is there."""
    (tmp_path / "ca.crt").write_text(PEM)
    text = (BASE / "headgate.toml").read_text().replace("/etc/headgate/tls", str(tmp_path))
    (tmp_path / "headgate.toml").write_text(text)
    return configuration.load(tmp_path / "headgate.toml", {})


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(KUBERNETES)))
def test_every_file_is_yaml(file: Path) -> None:
    assert all(found["kind"] for found in yaml.safe_load_all(file.read_text()))


def test_every_stage_and_the_worker_is_a_deployment_with_a_command_that_there_is() -> None:
    run = dict(containers())
    assert run.keys() == {*registry.STAGES, "worker"}
    assert all(understood(container["args"]) for container in run.values())
    assert all(run[name]["args"] == ["streams", name] for name in registry.STAGES)


def test_the_overlays_workers_have_commands_that_there_are() -> None:
    for file in KUBERNETES.glob("overlays/*/worker.yaml"):
        (container,) = yaml.safe_load(file.read_text())["spec"]["template"]["spec"]["containers"]
        assert "args" not in container or understood(container["args"])


def test_probes_ask_where_health_checks_are_answered() -> None:
    for name, container in containers():
        (port,) = container["ports"]
        assert port == {
            "name": "health",
            "containerPort": health_ports()["serve" if name == "worker" else name],
        }
        asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
        assert asked == {
            "startup": {"path": "/healthz", "port": "health"},
            "liveness": {"path": "/healthz", "port": "health"},
            "readiness": {"path": "/readyz", "port": "health"},
        }


def test_prometheus_is_told_the_port_of_the_probes() -> None:
    for deployment in documents("Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        annotations = deployment["spec"]["template"]["metadata"]["annotations"]
        assert annotations["prometheus.io/port"] == str(container["ports"][0]["containerPort"])


def test_the_settings_are_settings(settings: Settings) -> None:
    assert settings.kafka.security_protocol == "SASL_SSL"
    assert settings.clickhouse.url.startswith("https://")
    assert settings.notify.configured


def test_passwords_come_from_keys_of_the_secret_and_under_names_that_are_read() -> None:
    (container,) = house()["containers"]
    example = (KUBERNETES / "secrets" / "credentials.env.example").read_text()
    keys = {line.partition("=")[0] for line in example.splitlines()}
    for variable in container["env"]:
        assert variable["name"] in known_variables()
        assert variable["valueFrom"]["secretKeyRef"]["key"] in keys
    for found in documents("TriggerAuthentication"):
        wanted = {
            target["key"] for target in found["spec"]["secretTargetRef"] if target["name"] == "headgate"
        }
        assert wanted <= keys


def test_a_deployment_begins_with_topics_tables_and_the_user_for_dashboards() -> None:
    (job,) = documents("Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["headgate-setup"]
    example = (KUBERNETES / "secrets" / "credentials.env.example").read_text()
    (variable,) = container["env"]
    assert variable["name"] == grants.VARIABLE
    assert f"{variable['valueFrom']['secretKeyRef']['key']}=" in example


def test_raw_records_are_kept_by_nobody_before_an_overlay_says_so() -> None:
    (deployment,) = (d for d in documents("Deployment") if d["metadata"]["name"] == "headgate-examples")
    assert deployment["spec"]["replicas"] == 0
    ((_, container),) = ((name, found) for name, found in containers() if name == "examples")
    (variable,) = container["env"]
    assert variable["name"] in known_variables()
    assert variable["valueFrom"]["secretKeyRef"]["key"] == "HEADGATE_EXAMPLES_SECRET"


def test_nothing_is_root_and_nothing_can_be_written_to() -> None:
    spec = house()
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_scaling_follows_groups_and_topics_that_there_are(settings: Settings) -> None:
    groups = {"headgate-worker": group_of(settings, ()), "headgate-sink": registry.group("sink", settings)}
    for scaled in documents("ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            if trigger["type"] == "kafka":
                name = scaled["spec"]["scaleTargetRef"]["name"]
                assert trigger["metadata"]["consumerGroup"] == groups[name]
                assert trigger["metadata"]["bootstrapServers"] == settings.kafka.brokers


def test_no_more_processes_are_wanted_than_there_are_partitions(settings: Settings) -> None:
    most = {"headgate-sink": settings.topics.model_partitions}
    for scaled in documents("ScaledObject"):
        name = scaled["spec"]["scaleTargetRef"]["name"]
        assert scaled["spec"]["maxReplicaCount"] <= most.get(name, settings.topics.partitions)


def test_the_joins_memory_limit_has_room_for_its_pending_events(settings: Settings) -> None:
    (limit,) = (c["resources"]["limits"]["memory"] for name, c in containers() if name == "join")
    assert int(limit.removesuffix("Gi")) * 1024 >= settings.streams.memory + 768


def test_every_deployment_has_a_disruption_budget() -> None:
    budgets = [found["spec"]["selector"]["matchLabels"] for found in documents("PodDisruptionBudget")]
    for deployment in documents("Deployment"):
        assert deployment["spec"]["selector"]["matchLabels"] in budgets


def test_the_network_policy_lets_in_just_who_asks_for_health() -> None:
    (policy,) = (found for found in documents("NetworkPolicy") if found["metadata"]["name"] == "headgate")
    (rule,) = policy["spec"]["ingress"]
    opened = {p for port in rule["ports"] for p in range(port["port"], port.get("endPort", port["port"]) + 1)}
    assert opened == set(health_ports().values())


def test_every_pod_is_under_the_network_policy() -> None:
    for found in documents("Deployment", "Job"):
        assert found["spec"]["template"]["metadata"]["labels"]["headgate/house"]


def test_the_config_maps_of_grafana_are_the_dashboards_that_there_are(tmp_path: Path) -> None:
    text = (KUBERNETES / "grafana" / "kustomization.yaml").read_text()
    named = {Path(name).name for name in re.findall(r"provisioning/headgate/(\S+?)\]", text)}
    assert named == set(export.dashboards())
    assert tmp_path / "datasources" / "headgate.yaml" in export.export(tmp_path, ClickHouse())
