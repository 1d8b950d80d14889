"""The trainer: schedule, exact resume, accumulation, checkpoints, and that it learns."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from safetensors.torch import load_file

from alike_ros.errors import ConfigError
from alike_ros.network import ALIKE, load_alike
from training import train as trainer
from training.batches import Deal, datasets
from training.config import RunConfig, load_run, override
from training.data.drawings import write_drawings
from training.train import Schedule, follow, train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_drawings(folder, 3)
    return folder


def tiny(photos: Path, *changes: str) -> RunConfig:
    """A run of six steps on small crops, without workers."""
    return override(
        load_run(ROOT / "training" / "runs" / "smoke.yaml"),
        [
            f"data.root={photos}",
            "data={height: 64, width: 64, workers: 0}",
            "loss={top_k: 24, random_points: 16}",
            "optimizer={steps: 6, batch_size: 2, warm_up: 2, ema: 0.9}",
            "validation={every: 100, pairs: 1, top_k: 30, height: 96, width: 96}",
            *changes,
        ],
    )


def run(config: RunConfig, out: Path, resume: bool = False) -> float:
    return train(Fabric(accelerator="cpu", devices=1), config, out, resume).last


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


# Schedule and averages


def test_rate_warms_up_and_ends_at_zero() -> None:
    schedule = Schedule(rate=0.1, warm_up=10, start=10, steps=110)
    rates = [schedule(step) for step in range(111)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) * 0.01)
    assert rates[60] == pytest.approx(0.05)
    assert rates[110] == pytest.approx(0)
    assert all(np.diff(rates[10:]) < 0)


@pytest.mark.parametrize("steps", [70, 500])
def test_another_last_step_bends_the_schedule_without_a_jump(steps: int) -> None:
    schedule = Schedule(rate=0.1, warm_up=10, start=10, steps=110)
    bent = schedule.until(steps, now=50)
    assert bent(50) == pytest.approx(schedule(50))
    assert bent(steps) == pytest.approx(0)
    assert bent(51) < schedule(50)
    assert schedule.until(110, now=50) == schedule


def test_average_follows_faster_at_the_beginning() -> None:
    torch.manual_seed(0)
    average, network = ALIKE("alike-t"), ALIKE("alike-t")
    before = average.convhead2.weight.clone()
    follow(average, network, 0.99, step=0)  # 1/10 old, 9/10 new
    expected = 0.1 * before + 0.9 * network.convhead2.weight
    torch.testing.assert_close(average.convhead2.weight, expected)
    follow(average, network, 0.99, step=10**6)
    expected = 0.99 * expected + 0.01 * network.convhead2.weight
    torch.testing.assert_close(average.convhead2.weight, expected)


# Dealing out


def take(deal: Deal, count: int) -> list[int]:
    iterator = iter(deal)
    return [next(iterator) for _ in range(count)]


def test_processes_share_the_microbatches_of_one() -> None:
    alone = take(Deal(0, 1, batch_size=3, pairs=0), 12)
    assert alone == list(range(12))
    both = [take(Deal(rank, 2, batch_size=3, pairs=0), 6) for rank in range(2)]
    assert both == [[0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11]]


def test_few_pairs_come_again() -> None:
    assert take(Deal(0, 1, batch_size=2, pairs=3), 7) == [0, 1, 2, 0, 1, 2, 0]


# Runs


def test_resumed_run_ends_with_the_same_weights(photos: Path, tmp_path: Path) -> None:
    config = tiny(photos, "optimizer.accumulation=2")
    run(config, tmp_path / "whole")

    def follow_and_stop(*arguments: Any) -> None:
        follow(*arguments)
        if arguments[-1] == 2:  # the third step
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "follow", follow_and_stop)
        run(config, tmp_path / "parts")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    stopped = torch.load(tmp_path / "parts" / "last.pt", weights_only=True)
    assert stopped["state"]["step"] == 3
    run(config, tmp_path / "parts", resume=True)
    for name in ("last.safetensors", "last_average.safetensors"):
        assert_same(weights(tmp_path / "whole" / name), weights(tmp_path / "parts" / name))
    whole, parts = (
        torch.load(tmp_path / name / "last.pt", weights_only=True)["optimizer"]["state"][0]
        for name in ("whole", "parts")
    )
    assert torch.equal(whole["exp_avg_sq"], parts["exp_avg_sq"])


def test_half_precision_resumes_with_the_scale_of_the_loss(photos: Path, tmp_path: Path) -> None:
    def half(config: RunConfig, resume: bool) -> dict[str, Any]:
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=3)
        precision = MixedPrecision("16-mixed", "cpu", scaler)
        train(Fabric(accelerator="cpu", devices=1, plugins=precision), config, tmp_path, resume)
        return torch.load(tmp_path / "last.pt", weights_only=True)["precision"]

    first = half(tiny(photos, "optimizer.steps=2"), False)
    assert (first["scale"], first["_growth_tracker"]) == (256, 2)
    second = half(tiny(photos, "optimizer.steps=4"), True)  # grows after the third step
    assert (second["scale"], second["_growth_tracker"]) == (512, 1)


def test_seeds_decide(photos: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tiny(photos, f"seed={seed}", "optimizer.steps=2"), tmp_path / name)
    first, second, other = (weights(tmp_path / n / "last.safetensors") for n in "abc")
    assert_same(first, second)
    assert not torch.equal(first["convhead2.weight"], other["convhead2.weight"])


def test_checkpoint_tells_where_it_is_from(photos: Path, tmp_path: Path) -> None:
    config = tiny(photos, "optimizer.steps=2", "seed=7")
    run(config, tmp_path)
    content = torch.load(tmp_path / "best.pt", weights_only=True)
    assert content["config"]["data"]["root"] == str(photos)
    assert content["seed"] == 7
    assert content["commit"] == trainer.commit()
    assert list((tmp_path / "log").glob("events.*"))


def test_weights_load_wherever_released_ones_do(photos: Path, tmp_path: Path) -> None:
    run(tiny(photos, "optimizer.steps=2"), tmp_path)
    for name in ("last.safetensors", "last_average.safetensors", "last.pt"):
        network = load_alike(tmp_path / name)
        keypoints, _, descriptors = network.extract(torch.rand(3, 64, 96), top_k=20, min_score=0.0)
        assert len(keypoints) > 0
        torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(len(descriptors)))


def test_a_run_can_start_from_weights(photos: Path, tmp_path: Path) -> None:
    run(tiny(photos, "optimizer.steps=2"), tmp_path / "first")
    path = tmp_path / "first" / "last.safetensors"
    run(tiny(photos, f"weights={path}", "optimizer={steps: 1, rate: 0.0}"), tmp_path / "second")
    torch.testing.assert_close(
        weights(path)["convhead2.weight"],
        weights(tmp_path / "second" / "last.safetensors")["convhead2.weight"],
    )


def test_nothing_to_resume_is_an_error(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"last\.pt"):
        run(tiny(photos), tmp_path, resume=True)
    run(tiny(photos, "optimizer.steps=1"), tmp_path)
    with pytest.raises(ConfigError, match="alike-t"):
        run(tiny(photos, "variant=alike-s"), tmp_path, resume=True)


def test_what_cannot_go_on_is_an_error(photos: Path, tmp_path: Path) -> None:
    run(tiny(photos, "optimizer.steps=3"), tmp_path)
    with pytest.raises(ConfigError, match=r"has ended.*weights=.*last_average\.safetensors"):
        run(tiny(photos, "optimizer.steps=4"), tmp_path, resume=True)
    run(tiny(photos, "optimizer.steps=3"), tmp_path, resume=True)  # nothing is left to do
    for content in (b"no checkpoint", (tmp_path / "last.safetensors").read_bytes()):
        (tmp_path / "last.pt").write_bytes(content)
        with pytest.raises(ConfigError, match="no checkpoint of a run"):
            run(tiny(photos), tmp_path, resume=True)
    torch.save(ALIKE("alike-t").state_dict(), tmp_path / "last.pt")
    with pytest.raises(ConfigError, match="no checkpoint of a run"):
        run(tiny(photos), tmp_path, resume=True)


def test_only_the_score_map_is_trained(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    torch.save(ALIKE("alike-t").state_dict(), tmp_path / "before.pth")
    before = load_alike(tmp_path / "before.pth").state_dict()
    run(tiny(photos, "part=scores", f"weights={tmp_path / 'before.pth'}"), tmp_path)
    after = weights(tmp_path / "last.safetensors")
    head, head_before = after.pop("convhead2.weight"), before.pop("convhead2.weight")
    assert_same(after, before)
    assert torch.equal(head[:-1], head_before[:-1])
    assert (head[-1] - head_before[-1]).abs().median() > 1e-4  # some channels are always 0


def test_the_decay_of_weights_would_move_what_is_held(photos: Path) -> None:
    with pytest.raises(ConfigError, match="weight_decay"):
        tiny(photos, "part=scores", "optimizer.weight_decay=0.1")
    with pytest.raises(ConfigError, match="expected all or scores"):
        tiny(photos, "part=score")


@pytest.mark.parametrize("variant", ["alike-s", "alike-n", "alike-l"])
def test_every_variant_trains(photos: Path, tmp_path: Path, variant: str) -> None:
    loss = run(tiny(photos, f"variant={variant}", "optimizer.steps=1"), tmp_path)
    assert np.isfinite(loss)


def test_photos_train_as_scenes(photos: Path, tmp_path: Path) -> None:
    changes = ("data.scenes.share=0.5", "validation.pairs=4")
    assert np.isfinite(run(tiny(photos, *changes), tmp_path))


def test_pairs_that_come_again_make_batches_of_one_kind(photos: Path) -> None:
    scenes = ("data.scenes.share=0.5", "data.pairs=7")
    with pytest.raises(ConfigError, match=r"data\.pairs is 7.*a multiple of 2"):
        datasets(tiny(photos, *scenes))
    for changes in (("data.pairs=7",), (*scenes, "data.pairs=8"), (*scenes, "data.pairs=1")):
        datasets(tiny(photos, *changes))


def test_rgbd_sequences_train(tmp_path: Path) -> None:
    config = tiny(
        tmp_path, "data={kind: rgbd, root: 'render:room?frames=21'}", "optimizer.steps=1"
    )
    assert np.isfinite(run(config, tmp_path))


# Command line


def command(*arguments: str, torchrun: int = 0) -> subprocess.CompletedProcess[str]:
    module = ["-m", "training.train", *arguments, "--accelerator", "cpu", "--threads", "1"]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={torchrun}"]
    return subprocess.run(
        [sys.executable, *(launcher if torchrun else []), *module],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("run_file", ["cpu", "paper"])
def test_overfitting_takes_seconds_and_lowers_the_loss(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    run_file: str,
) -> None:
    """On drawings: there are no photos, and no MegaDepth."""
    monkeypatch.chdir(tmp_path)
    arguments = ["--overfit", "--accelerator", "cpu", "--devices", "1"]
    arguments += ["--set", "data={height: 64, width: 64}", "--set", "optimizer.steps=60"]
    assert trainer.main([str(trainer.RUNS / f"{run_file}.yaml"), *arguments]) == 0
    found = re.search(r"loss (\S+) at the first step, (\S+) at the last", capsys.readouterr().out)
    assert found is not None
    first, last = map(float, found.groups())
    assert last < 0.5 * first  # measured 0.28 in both
    assert load_alike(trainer.TRIAL / "last.safetensors")


def test_overfitting_takes_the_pictures_that_are_there(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(f"data: {{root: {photos}}}\noptimizer: {{batch_size: 3}}")

    def configured(*changes: str) -> RunConfig:
        run_file, out = tmp_path / "run.yaml", tmp_path
        return trainer.run_config(
            Namespace(run=run_file, smoke=False, overfit=True, out=out, set=list(changes))
        )

    config = configured("optimizer.steps=7")
    assert (config.data.root, config.data.pairs) == (str(photos), 3)
    assert (config.optimizer.steps, config.optimizer.accumulation) == (7, 1)
    assert configured("data.root=elsewhere").data.root == "elsewhere"
    assert not (tmp_path / "drawings").exists()


def test_two_processes_equal_one_with_twice_the_accumulation(photos: Path, tmp_path: Path) -> None:
    changes = [
        f"data.root={photos}",
        "data={height: 64, width: 64, workers: 0}",
        "loss={top_k: 24, random_points: 16}",
        "optimizer={steps: 3, batch_size: 2, warm_up: 2}",
        "validation={every: 100, pairs: 1, top_k: 30, height: 96, width: 96}",
    ]
    run_file = ROOT / "training" / "runs" / "smoke.yaml"
    words = [word for change in changes for word in ("--set", change)]
    done = command(str(run_file), "--out", str(tmp_path / "two"), *words, torchrun=2)
    assert done.returncode == 0, done.stderr
    config = override(load_run(run_file), [*changes, "optimizer.accumulation=2"])
    begun = trainer.start(config).network
    run(config, tmp_path / "one")
    one, two = (load_alike(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    for (name, a), b, c in zip(
        one.state_dict().items(),
        two.state_dict().values(),
        begun.state_dict().values(),
        strict=True,
    ):
        moved = (a - c).abs().max()
        assert moved > 1e-3, name
        assert (a - b).abs().max() < 1e-4 * moved, name  # measured 3e-7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "data.rot=x"], "unknown setting 'data.rot'"),
        (["--set", "optimizer.precision=fp16"], "Precision 'fp16' is invalid"),
        (["--accelerator", "abacus"], "accelerator='abacus'"),
        (["--accelerator", "cpu", "--devices", "x"], "should be an int > 0"),
    ],
)
def test_wrong_settings_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert trainer.main(["--out", str(tmp_path), *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


@pytest.mark.parametrize("trial", [[], ["--smoke"], ["--overfit"]])
def test_a_run_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], trial: list[str]
) -> None:
    (tmp_path / "last.pt").write_bytes(b"days of work")
    assert trainer.main(["--out", str(tmp_path), *trial]) == 1
    assert "--resume it, or choose another --out" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_checkpoints_need_a_place(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        trainer.main([])
    assert "--out OUT" in capsys.readouterr().err


@pytest.mark.slow
def test_smoke_run_reaches_the_loss_it_promises(tmp_path: Path) -> None:
    done = command("--smoke", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    loss = float(done.stdout.split("loss ")[1].split(",")[0])
    assert abs(loss - trainer.SMOKE_LOSS) < 0.5
