"""How the demo starts its processes."""

import os
import subprocess
from pathlib import Path

from infra.demo.run import command
from schemas.settings import Settings

ROOT = Path(__file__).parents[2]


def test_a_headgate_toml_where_the_demo_is_run_is_not_the_demos(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (tmp_path / "headgate.toml").write_text("[kafka]\nno_such_setting = 1\n")
    done = subprocess.run(
        command(["schema", "export", "out"], logs),
        cwd=tmp_path,
        env={**os.environ, **Settings().environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
