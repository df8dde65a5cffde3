"""Who takes part: what each peer's environment needs, pinned, and how its program is started."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec

from schemas import topics
from schemas.settings import Settings

ENVIRONMENTS = Path(sys.prefix) / "bench"
"""Where the peers' virtual environments are made, on demand: in ours, which `make clean` removes."""
PROGRAMS = Path(__file__).parent
POM = PROGRAMS / "flink.xml"
WHOLE = 1 << 40
"""All predictions that there are."""
FLINK = "flink"


class Job(msgspec.Struct, frozen=True):
    """What a program is given: where to read and write, all as text. `folder` is for its state, `jars`
    has its Java libraries.
    """

    brokers: str
    predictions: str
    feedback: str
    output: str
    group: str
    partitions: str
    folder: str
    jars: str


class Peer(NamedTuple):
    """A program of somebody else's. `environment` names its virtual environment, with `packages` in it;
    `most` is how many predictions of the workload it is given: of the slow ones about what they do in a
    minute.
    """

    name: str
    environment: str
    packages: tuple[str, ...]
    program: tuple[str, ...]
    most: int = WHOLE
    changelogs: tuple[str, ...] = ()

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return ENVIRONMENTS / self.environment / "bin" / "python"

    @property
    def jars(self) -> Path:
        """The folder of its Java libraries."""
        return ENVIRONMENTS / self.environment / "jars"

    def state(self) -> Path:
        """An empty folder for its state."""
        folder = ENVIRONMENTS / self.environment / "state"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def install(self) -> None:
        """Makes its environment unless it stands. Raises `CalledProcessError` with pip's or Maven's
        output.
        """
        install(self.environment, self.packages)
        if self.environment == FLINK and not self.jars.exists():
            maven = ("mvn", "--quiet", "--batch-mode", "--no-transfer-progress", "--file", str(POM))
            _run(*maven, "dependency:copy-dependencies", f"-Djars={self.jars}")

    def output(self) -> str:
        """Its output topic, without the prefix."""
        return f"bench.{Path(self.program[0]).stem}{''.join(self.program[1:])}"

    def job(self, settings: Settings, folder: Path) -> Job:
        """What its program is given."""
        return Job(
            brokers=settings.kafka.brokers,
            predictions=topics.PREDICTIONS.full_name(settings.topics),
            feedback=topics.FEEDBACK.full_name(settings.topics),
            output=settings.topics.prefix + self.output(),
            group=settings.topics.prefix + self.output(),
            partitions=str(settings.topics.partitions),
            folder=str(folder),
            jars=str(self.jars),
        )


def install(environment: str, packages: tuple[str, ...]) -> None:
    """Makes a virtual environment with these packages, unless it stands. Raises `CalledProcessError` with
    pip's output.
    """
    folder = ENVIRONMENTS / environment
    stamp, wanted = folder / "packages.txt", "\n".join(packages)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"bench: installing {', '.join(packages)}", flush=True)
    _run(sys.executable, "-m", "venv", "--clear", str(folder))
    pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, *packages)
    stamp.write_text(wanted)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


_FAUST = ("faust-streaming==0.15.3", "aiokafka==0.14.0", "cramjam==2.14.0")
_TABLES = ("pane_of", "early", "panes")

PEERS = (
    Peer(
        "hand-written loop", "confluent", ("confluent-kafka==2.16.1", "msgspec==0.22.0"), ("on_confluent.py",)
    ),
    Peer("Pathway", "pathway", ("pathway==0.33.0",), ("on_pathway.py",)),
    Peer("PyFlink SQL", FLINK, ("apache-flink==2.0.2",), ("on_flink.py",)),
    Peer("Bytewax", "bytewax", ("bytewax[kafka]==0.21.1",), ("on_bytewax.py",)),
    Peer("Faust, dicts", "faust", _FAUST, ("on_faust.py", "dicts"), 300_000),
    Peer("Quix Streams", "quix", ("quixstreams==3.28.1",), ("on_quix.py",), 200_000),
    Peer("Faust, Tables", "faust", _FAUST, ("on_faust.py", "tables"), 60_000, _TABLES),
)
