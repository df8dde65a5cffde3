"""The stages as a user runs them: `headgate streams` in a folder with a `headgate.toml`. Killed, where a test
kills, by the process id of one of our own children."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import yaml

from infra import topics
from schemas.policies import Policy, to_object
from schemas.settings import Settings

COMMAND = str(Path(sys.executable).with_name("headgate"))
STAGES = ("join", "judge", "sink")


class Stages:
    """Running stages. What they print is in the file `log`."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.log = folder / "streams.log"
        self._out = self.log.open("ab")
        self._process = subprocess.Popen(
            [COMMAND, "streams", *STAGES],
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

    def kill(self, stage: str, timeout: float = 45) -> None:
        """`kill -9` to a stage's process; waits for one to be there."""
        deadline = time.monotonic() + timeout
        while (pid := self.pid(stage)) is None:
            assert time.monotonic() < deadline, self.log.read_text()[-5000:]
            time.sleep(0.05)
        psutil.Process(pid).send_signal(signal.SIGKILL)

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
        "[streams]\nsession = 3\n"  # a killed owner is missed that soon
    )
    for policy in watched:
        file = folder / f"{policy.model}.yaml"
        file.write_text(yaml.safe_dump(to_object(policy)))
        command(folder, settings, "policy", "apply", str(file))


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
def running(folder: Path, settings: Settings) -> Iterator[Stages]:
    """The stages, as long as the block lasts; they must end in good order behind it."""
    stages = Stages(folder, settings)
    try:
        yield stages
    except BaseException:
        stages.stop()
        print(stages.log.read_text()[-8000:])
        raise
    assert stages.stop() == 0, stages.log.read_text()[-5000:]


def _environment(settings: Settings) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": str(Path.home())} | settings.environment()
