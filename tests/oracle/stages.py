"""The stages as a user runs them: `headgate streams` in a folder with a `headgate.toml`. Killed, where a test
kills, by the process id of one of our own children."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psutil
import yaml

from infra import topics
from schemas.policies import Policy, to_object
from schemas.records import ENCODER, Profile
from schemas.settings import Settings
from schemas.topics import PROFILES
from streams.log import Output

COMMAND = str(Path(sys.executable).with_name("headgate"))
STAGES = ("join", "judge", "sink")


class Stages:
    """Running stages, all of them where none is named. What they print is in the file `log`."""

    def __init__(self, folder: Path, settings: Settings, *names: str) -> None:
        self.log = folder / f"{'-'.join(names) or 'streams'}-{uuid4().hex[:4]}.log"
        self._out = self.log.open("ab")
        self._process = subprocess.Popen(
            [COMMAND, "streams", *(names or STAGES)],
            cwd=folder,
            env=_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._out,
        )

    def pid(self, stage: str) -> int | None:
        """The process of a stage, None where it is not running just now."""
        for child in psutil.Process(self._process.pid).children():
            try:
                if child.cmdline()[1:4] == ["-m", "streams.worker", stage]:
                    return child.pid
            except psutil.NoSuchProcess:
                continue
        return None

    def process(self, stage: str, timeout: float = 45) -> psutil.Process:
        """The process of a stage; waits for one to be there."""
        deadline = time.monotonic() + timeout
        while (pid := self.pid(stage)) is None:
            assert time.monotonic() < deadline, self.log.read_text()[-5000:]
            time.sleep(0.05)
        return psutil.Process(pid)

    def kill(self, stage: str) -> None:
        """`kill -9` to a stage's process."""
        self.process(stage).send_signal(signal.SIGKILL)

    def stop(self) -> int:
        """Ends them in good order; answers the exit status."""
        self._process.terminate()
        try:
            return self._process.wait(40)
        finally:
            self._process.kill()
            self._out.close()


def prepare(folder: Path, settings: Settings, *watched: Policy) -> None:
    """Creates the topics and writes `headgate.toml`; publishes policies as a user does."""
    topics.create(settings, forever=True)
    (folder / "headgate.toml").write_text(
        f'[topics]\nprefix = "{settings.topics.prefix}"\npartitions = {settings.topics.partitions}\n'
        f'[clickhouse]\ndatabase = "{settings.clickhouse.database}"\n'
        '[streams]\nsession = 3\nhealth = "off"\n'  # a killed owner is missed that soon
    )
    for policy in watched:
        file = folder / f"{policy.model}.yaml"
        file.write_text(yaml.safe_dump(to_object(policy)))
        command(folder, settings, "policy", "apply", str(file))


def publish(settings: Settings, *profiles: Profile) -> None:
    """Publishes reference profiles."""
    output = Output(settings)
    for profile in profiles:
        output.send(PROFILES, f"{profile.model}/{profile.version}", ENCODER.encode(profile))
    output.flush()


def command(folder: Path, settings: Settings, *arguments: str) -> str:
    """Runs a `headgate` command to its end; answers what it printed."""
    done = subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env=_environment(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(folder: Path, settings: Settings, *names: str) -> Iterator[Stages]:
    """The named stages (all where none is named), as long as the block lasts; they must end in good order
    behind it.
    """
    stages = Stages(folder, settings, *names)
    try:
        yield stages
    except BaseException:
        stages.stop()
        print(stages.log.read_text()[-8000:])
        raise
    assert stages.stop() == 0, stages.log.read_text()[-5000:]


def _environment(settings: Settings) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": str(Path.home())} | settings.environment()
