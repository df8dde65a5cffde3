"""How a worker is started: what is refused before anything is asked of Kafka, and which group it joins."""

import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import HeadgateError
from schemas.settings import Settings, Topics
from serving.intake import group_of
from serving.supervisor import serve
from tests import serving_models as models


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadgateError, match="expected a model repository"):
        serve(Settings(), tmp_path / "nowhere")


def test_a_model_that_is_not_in_the_repository_is_refused(tmp_path: Path) -> None:
    models.add_version(tmp_path, "v1")
    with pytest.raises(HeadgateError, match="found no model 'films', expected one of: ranker"):
        serve(Settings(), tmp_path, ["films"])


@pytest.mark.parametrize(
    ("only", "group"),
    [
        ([], "eu.headgate-serving"),
        (["films"], "eu.headgate-serving-films"),
        (["ranker", "films", "ranker"], "eu.headgate-serving-films+ranker"),
        (["films-ranker"], "eu.headgate-serving-films-ranker"),
        (["films+ranker"], "eu.headgate-serving-films%2Branker"),
    ],
)
def test_workers_of_the_same_models_share_a_group(only: list[str], group: str) -> None:
    assert group_of(Settings(topics=Topics(prefix="eu.")), only) == group


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("serving.supervisor", ["confluent_kafka", "numpy", "onnxruntime"]),
        ("serving.worker", ["faust", "numba"]),
        ("infra.commands.check_groups", ["onnxruntime"]),
    ],
)
def test_a_process_imports_no_more_than_it_needs(module: str, heavy: list[str]) -> None:
    program = f"import sys, {module}; print(*(set({heavy}) & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert found.stdout.split() == []
