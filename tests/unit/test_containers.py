"""What the image is made of and what compose.yaml runs in it, held against the code: no Docker is needed."""

import argparse
import importlib
import importlib.metadata
import re
import threading
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from packaging.requirements import Requirement

from infra import cli
from infra.container import healthy, locked
from infra.demo.run import POLICY
from schemas import policy_files
from schemas import settings as configuration
from schemas.settings import Settings
from streams import registry
from streams.storage import grants

ROOT = Path(__file__).parent.parent.parent
CONTAINER = ROOT / "infra" / "container"
LOCK = (ROOT / "requirements.lock").read_text()

OURS = re.compile(r"headgate|\$\{HEADGATE_IMAGE:-headgate:\w+\}")

NOT_SHIPPED = ("infra.container", "infra.kubernetes", "schemas.examples")
"""Folders that are for making and checking Headgate, not for running it."""


def health_ports() -> dict[str, int]:
    """Where each stage, and a worker, answers by default."""
    defaults = Settings()
    addresses = {name: defaults.streams.health_address(registry.number(name)) for name in registry.STAGES}
    addresses["serve"] = defaults.serving.health_address
    return {name: address[1] for name, address in addresses.items() if address is not None}


def understood(arguments: Sequence[str]) -> bool:
    """Whether the command line takes these arguments."""
    module = cast(cli.Module, importlib.import_module(cli.COMMANDS[arguments[0]].module))
    parser = argparse.ArgumentParser(allow_abbrev=False)
    module.configure(parser)
    parser.parse_args(arguments[1:])  # SystemExit, where it does not
    return True


def known_variables() -> set[str]:
    """The variables of the environment that settings are read from."""
    sources = (ROOT / "schemas").glob("*.py")
    return {name for source in sources for name in re.findall(r"HEADGATE_[A-Z_]+", source.read_text())}


def closure(roots: Sequence[Requirement]) -> set[str]:
    """All packages that `roots` need here, by what is installed."""
    seen: set[tuple[str, frozenset[str]]] = set()
    left = list(roots)
    while left:
        wanted = left.pop()
        key = (locked.canonical(wanted.name), frozenset(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        for text in importlib.metadata.requires(wanted.name) or ():
            needed = Requirement(text)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in wanted.extras or {""}
            ):
                left.append(needed)
    return {name for name, _ in seen}


def project() -> Mapping[str, Any]:
    found: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def listed(*files: str) -> set[str]:
    return {name for file in files for name in locked.names((CONTAINER / file).read_text())}


def compose() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text())[
        "services"
    ]
    return services


def our_services() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, service in compose().items():
        if OURS.fullmatch(service["image"]):
            yield name, service


def test_the_image_gets_just_the_packages_that_headgate_runs_on() -> None:
    wanted = [*project()["dependencies"], *project()["optional-dependencies"]["cpu"]]
    needed = closure([Requirement(text) for text in wanted])
    assert listed("packages.txt", "cpu.txt") == needed


def shipped_folders() -> Iterator[Path]:
    """Folders with code, but for those that are not for running it."""
    for top in ("streams", "serving", "schemas", "infra"):
        for folder in [ROOT / top, *(ROOT / top).rglob("*/")]:
            if package_of(folder).startswith(NOT_SHIPPED) or not any(folder.glob("*.py")):
                continue
            yield folder


def package_of(folder: Path) -> str:
    return ".".join(folder.relative_to(ROOT).parts)


def test_the_image_gets_every_package() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert {package_of(folder) for folder in shipped_folders()} == set(setuptools["packages"])


def test_the_image_gets_every_file_that_the_code_reads() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    taken = {
        file
        for package, patterns in setuptools["package-data"].items()
        for pattern in patterns
        for file in ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    for folder in shipped_folders():
        for source in folder.glob("*.py"):
            for name in re.findall(
                r"""["']([\w.-]+\.(?:json|sql|txt|yaml|xml|properties|sh))["']""", source.read_text()
            ):
                if (folder / name).exists():
                    assert folder / name in taken, f"{source} reads {name}"
    assert set((ROOT / "streams" / "storage" / "migrations").glob("*.sql")) <= taken


def test_of_the_lock_the_named_packages_are_taken_with_all_their_hashes() -> None:
    lock = [
        "a-b==1 \\\n",
        "    --hash=x \\\n",
        "    --hash=y\n",
        "c==2 ; python_version < '4' \\\n",
        "    --hash=z\n",
    ]
    assert "".join(locked.select(lock, {"a-b"})) == "a-b==1 \\\n    --hash=x \\\n    --hash=y\n"


def test_a_package_that_the_lock_does_not_have_ends_the_build() -> None:
    with pytest.raises(SystemExit, match="the lock has no missing"):
        list(locked.select(["a==1\n"], {"a", "missing"}))


@pytest.mark.parametrize("file", ["packages.txt", "cpu.txt", "stand-in/clickhouse.txt"])
def test_the_lock_has_every_package_of_the_lists(file: str) -> None:
    assert "--hash=sha256:" in "".join(locked.select(LOCK.splitlines(keepends=True), listed(file)))


def test_both_targets_have_the_same_onnx_runtime() -> None:
    (on_cpu,) = re.findall(r"^onnxruntime==(\S+)", LOCK, re.MULTILINE)
    (on_gpu,) = re.findall(r"^onnxruntime-gpu==(\S+)", (CONTAINER / "gpu.lock").read_text(), re.MULTILINE)
    assert on_cpu == on_gpu


def test_the_health_check_asks_wherever_something_of_ours_answers() -> None:
    assert sorted(healthy.PORTS) == sorted(health_ports().values())


class Process(BaseHTTPRequestHandler):
    """What a process of ours answers that is well and was started at `started` (Unix time)."""

    started = 1.7e9

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        if self.path == "/metrics":
            self.wfile.write(f"# TYPE x gauge\nprocess_start_time_seconds {self.started:g}\n".encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's word)
        """Nothing is logged."""


@pytest.mark.parametrize(("age", "well"), [(0.5, False), (healthy.YOUNG + 1, True)])
def test_who_dies_again_and_again_is_never_healthy_for_it_is_always_young(age: float, well: bool) -> None:
    """Docker believes the first yes."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Process) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert healthy.ask(server.server_port, Process.started + age) is well
        server.shutdown()
    assert healthy.ask(server.server_port, Process.started + age) is None


def test_setup_brings_the_database_up_to_date_and_makes_the_user_for_dashboards() -> None:
    lines = (CONTAINER / "setup.sh").read_text().splitlines()
    commands = [line.split()[1:] for line in lines if line.strip().startswith("headgate ")]
    assert all(understood([word for word in command if word != "${reader:-}"]) for command in commands)
    assert commands[:3] == [["topics", "create"], ["schema", "apply"], ["schema", "grants"]]


def test_in_compose_everything_waits_for_setup() -> None:
    for name, service in compose().items():
        if name in ("join", "judge", "sink", "examples", "worker-1", "worker-2", "grafana"):
            assert service["depends_on"]["setup"]["condition"] == "service_completed_successfully"


def test_in_compose_grafana_signs_in_as_the_user_that_may_only_read() -> None:
    services = compose()
    made = services["setup"]["environment"][grants.VARIABLE]
    assert services["grafana"]["environment"]["HEADGATE_CLICKHOUSE_PASSWORD"] == made
    assert made != services["join"]["environment"]["HEADGATE_CLICKHOUSE_PASSWORD"]
    assert "headgate dashboards export ${reader:-}" in (CONTAINER / "setup.sh").read_text()


def test_the_reader_is_who_the_data_source_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = []
    for option in ([], ["--reader"]):
        assert cli.main(["dashboards", "export", *option, "out"]) == 0
        (source,) = yaml.safe_load(Path("out/datasources/headgate.yaml").read_text())["datasources"]
        found.append(source["jsonData"]["username"])
    assert found == ["default", Settings().clickhouse.reader]


def test_the_image_answers_health_checks_on_the_default_ports() -> None:
    text = (ROOT / "infra" / "Dockerfile").read_text()
    assert re.findall(r"HEADGATE_HEALTH=0\.0\.0\.0:(\d+)", text) == [str(health_ports()["join"])]
    assert re.findall(r"HEADGATE_SERVING_HEALTH=0\.0\.0\.0:(\d+)", text) == [str(health_ports()["serve"])]


def test_compose_runs_commands_that_there_are() -> None:
    run = {name: service["command"] for name, service in our_services() if "entrypoint" not in service}
    assert all(map(understood, run.values()))
    assert {"join", "judge", "sink", "examples"} == {
        command[1] for command in run.values() if command[0] == "streams"
    }
    assert sum(command[0] == "serve" for command in run.values()) == 2


def test_compose_sets_no_variable_that_nobody_reads() -> None:
    for name, service in our_services():
        assert set(service["environment"]) - {"GRAFANA"} <= known_variables(), name


def test_the_settings_in_compose_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in compose()["join"]["environment"].items():
        monkeypatch.setenv(name, value)
    loaded = configuration.load(CONTAINER / "headgate.toml")
    assert loaded.kafka.brokers == "kafka:9092"


def test_in_compose_examples_are_kept_of_who_asks_for_some() -> None:
    (policy,) = policy_files.load([POLICY])
    assert policy.examples.share > 0
    services = compose()
    variable = "HEADGATE_EXAMPLES_SECRET"
    found = re.fullmatch(rf"\$\{{{variable}:-(.+)\}}", services["examples"]["environment"][variable])
    assert found is not None
    settings = configuration.load(CONTAINER / "headgate.toml", {variable: found[1]})
    registry.require_work(["examples"], settings)
    assert [name for name, service in services.items() if variable in service.get("environment", {})] == [
        "examples"
    ]


def test_prometheus_scrapes_every_process_of_ours_where_it_answers() -> None:
    jobs = yaml.safe_load((CONTAINER / "prometheus.yaml").read_text())["scrape_configs"]
    found = {target for job in jobs for group in job["static_configs"] for target in group["targets"]}
    ports = health_ports()
    wanted = {
        f"{name}:{ports[service['command'][1] if service['command'][0] == 'streams' else 'serve']}"
        for name, service in our_services()
        if "entrypoint" not in service
    }
    assert found == wanted


def test_every_image_in_compose_is_pinned_to_a_version() -> None:
    for name, service in compose().items():
        image = service["image"].partition(":-")[2].rstrip("}")
        assert re.search(r":(v?\d+\.\d+|demo$)", image), name


def test_compose_is_reachable_from_this_machine_alone() -> None:
    for name, service in compose().items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
