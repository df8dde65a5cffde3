"""The demo, as a newcomer runs it. Long, and in need of a machine that is not busy with other tests."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.soak
@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_a_healthy_version_is_promoted_a_broken_one_rolled_back_and_the_books_agree(
    seed: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "infra.cli", "demo", "--seed", seed]
    root = Path(__file__).parents[2]
    run = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
