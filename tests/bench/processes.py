"""What a process and its children use, seen from outside; and when a broker began to hand out records."""

import sys
from pathlib import Path
from typing import NamedTuple

import psutil

MIB = 1 << 20


class Usage(NamedTuple):
    """CPU seconds so far, and memory in MiB now (resident)."""

    cpu: float
    memory: float


def of(pid: int) -> psutil.Process:
    """The process with this number."""
    return psutil.Process(pid)


def usage(process: psutil.Process) -> Usage:
    """Of a process and all its children that run."""
    cpu = memory = 0.0
    for member in _tree(process):
        try:
            with member.oneshot():
                times = member.cpu_times()
                cpu += times.user + times.system
                memory += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return Usage(cpu, memory / MIB)


def python(module: str, *arguments: str) -> psutil.Popen:
    """Starts a module of ours; who calls waits for it."""
    return psutil.Popen([sys.executable, "-m", module, *arguments])


def alive(process: psutil.Process) -> bool:
    """Whether it still runs: it is there, and not only waited for."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(process: psutil.Process, patience: float = 5.0) -> None:
    """Ends a process and its children: asked first, then by force."""
    tree = _tree(process)
    for ask in (psutil.Process.terminate, psutil.Process.kill):
        for member in tree:
            try:
                ask(member)
            except psutil.NoSuchProcess:
                continue
        _, tree = psutil.wait_procs(tree, patience)
        if not tree:
            return


def broker() -> psutil.Process:
    """The local stack's broker, a child of this process."""
    for child in psutil.Process().children(recursive=True):
        if child.name() == "java" and "kafka.Kafka" in child.cmdline():
            return child
    raise LookupError("no Kafka among our children")


def sent(broker_: psutil.Process) -> int:
    """Bytes that the broker has written so far, to sockets and files."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{broker_.pid}/io").read_text().splitlines())
    return int(fields["wchar"])


def _tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
