"""Run files: what is wrong is said, what is right arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from alike_ros.errors import ConfigError
from training.config import RunConfig, load_run, override

RUNS = Path(__file__).resolve().parents[2] / "training" / "runs"


@pytest.mark.parametrize("name", ["cpu", "cpu_320", "paper", "released", "smoke"])
def test_every_run_file_loads(name: str) -> None:
    assert isinstance(load_run(RUNS / f"{name}.yaml"), RunConfig)


def test_paper_and_released_differ_in_temperatures_and_rate_alone() -> None:
    paper, released = load_run(RUNS / "paper.yaml"), load_run(RUNS / "released.yaml")
    assert (paper.loss.t_des, paper.loss.t_rel, paper.optimizer.rate) == (0.02, 1.0, 3e-3)
    assert (released.loss.t_des, released.loss.t_rel, released.optimizer.rate) == (0.1, 0.1, 3e-4)
    changes = ["loss.t_des=0.1", "loss.t_rel=0.1", "optimizer.rate=0.0003"]
    assert override(paper, changes) == released


def test_what_is_not_set_keeps_its_default(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("optimizer: {rate: 1}\n")
    config = load_run(path)
    assert config.optimizer.rate == 1.0 and isinstance(config.optimizer.rate, float)
    assert config.data == RunConfig().data


def test_numbers_may_be_written_without_a_point() -> None:
    """YAML 1.1 takes 3e-3 for text."""
    assert override(RunConfig(), ["optimizer.rate=3e-4"]).optimizer.rate == 3e-4


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optimizer.rat=1", "optimizer.rat.*rate"),
        ("optimizer.steps=many", "optimizer.steps.*int"),
        ("optimizer.steps=1.5", "optimizer.steps.*int"),
        ("optimizer=3", "optimizer"),
        ("optimizer.rate=fast", "optimizer.rate.*'fast'.*float"),
        ("seed", "name=value"),
        ("data.root=[a", "data.root.*not YAML"),
        ("seed=-1", "seed is -1, expected at least 0"),
        ("optimizer={accumulation: 0}", "optimizer.accumulation is 0, expected at least 1"),
        ("validation.pairs=0", "validation.pairs"),
        ("loss.nre_map=full", "'full', expected dense or grid"),
    ],
)
def test_wrong_settings_are_named(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(RunConfig(), [assignment])


def test_unreadable_run_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing"):
        load_run(tmp_path / "missing.yaml")
    (tmp_path / "torn.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="torn"):
        load_run(tmp_path / "torn.yaml")
