"""Trains ALIKE: `python -m training.train training/runs/cpu.yaml --out OUT`.

Reads in the order a run happens. The same file serves one process or many (torchrun), on CPUs or
GPUs. A run that was stopped goes on with --resume where its last checkpoint was written, exactly.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import Precision
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from alike_ros.errors import AlikeError, ConfigError
from alike_ros.network import ALIKE, load_alike, save_weights
from training.batches import datasets, load_batches
from training.config import RunConfig, load_run, override
from training.data.drawings import write_drawings
from training.objective import Objective
from training.validation import Pairs, draw, match, validate

#: Steps between entries of the log.
LOG_EVERY = 50
RUNS = Path(__file__).parent / "runs"
#: What --overfit changes of a run: small views and few points, so that it takes seconds.
OVERFIT = (
    "data={height: 96, width: 96, workers: 0}",
    "loss={top_k: 64, random_points: 64}",
    "optimizer={steps: 100, rate: 0.003, warm_up: 10, accumulation: 1}",
    "validation={every: 1000, pairs: 1}",
)
#: Where --smoke and --overfit write.
TRIAL = Path("output/trial")
EXAMPLES = """examples:
  python -m training.train --smoke
  python -m training.train training/runs/cpu.yaml --out OUT --threads 1
  python -m training.train training/runs/cpu.yaml --out OUT --resume
  python -m training.train --out OUT --set optimizer.rate=1e-4
  torchrun --nproc-per-node 2 -m training.train training/runs/paper.yaml --out OUT
"""
#: Loss to expect at the end of --smoke.
SMOKE_LOSS = 6.4


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, nargs="?", default=RUNS / "cpu.yaml", help="run file")
    parser.add_argument(
        "--out", type=Path, help=f"for checkpoints and logs; {TRIAL} for --smoke and --overfit"
    )
    parser.add_argument("--resume", action="store_true", help="go on from OUT/last.pt")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--smoke", action="store_true", help="a minute on drawings made here")
    parser.add_argument("--overfit", action="store_true", help="one small batch, 100 times")
    parser.add_argument("--accelerator", default="auto", help="cpu, cuda or auto")
    # torchrun has started the processes already, and says how many
    here, nodes = (os.environ.get(f"{name}_WORLD_SIZE") for name in ("LOCAL", "GROUP"))
    parser.add_argument("--devices", default=here or "auto", help="processes on this machine")
    parser.add_argument("--nodes", type=int, default=int(nodes or 1), help="machines")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: as many as cores")
    options = parser.parse_args(arguments)
    if options.out is None and not (options.smoke or options.overfit):
        parser.error("say where checkpoints go: --out OUT")
    kept = options.out is not None and not options.resume
    options.out = options.out or TRIAL
    try:
        if kept and (options.out / "last.pt").exists():
            raise ConfigError(f"{options.out} has a run: --resume it, or choose another --out")
        config = run_config(options)
        keep_freed_memory()
        if options.threads:
            torch.set_num_threads(options.threads)
        fabric = make_fabric(config, options)
        fabric.launch()
        losses = train(fabric, config, options.out, options.resume)
    except AlikeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.overfit and not math.isnan(losses.last):
        print(f"loss {losses.first:.2f} at the first step, {losses.last:.2f} at the last")
    elif options.smoke and not math.isnan(losses.last):
        expected = f"expected {SMOKE_LOSS:.1f} +- 0.5 ({losses.first:.1f} at the first step)"
        print(f"loss {losses.last:.2f}, {expected}")
    return 0


def run_config(options: argparse.Namespace) -> RunConfig:
    """The run file, what --smoke and --overfit change of it, and then --set."""
    run = load_run(RUNS / "smoke.yaml" if options.smoke else options.run)
    changes = [*OVERFIT, f"data.pairs={run.optimizer.batch_size}"] if options.overfit else []
    config = override(run, [*changes, *options.set])
    if config.data.root != run.data.root:
        return config
    missing = config.data.kind != "rgbd" and not Path(config.data.root).exists()
    if options.smoke or (options.overfit and missing):
        write_drawings(options.out / "drawings")
        drawings = ["data.kind=homography", f"data.root={options.out / 'drawings'}"]
        config = override(config, drawings)
    return config


def make_fabric(config: RunConfig, options: argparse.Namespace) -> Fabric:
    """What the run runs on. Raises ConfigError for what is not here, or not known to Fabric."""
    try:
        return Fabric(
            accelerator=options.accelerator,
            devices=options.devices,
            num_nodes=options.nodes,
            precision=cast(Any, config.optimizer.precision),
        )
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(str(error)) from error


# The run


@dataclass(frozen=True)
class Schedule:
    """Warm-up from 0, then a cosine to 0 that begins at step `start` with the rate `rate`."""

    rate: float
    warm_up: int
    start: int
    steps: int

    def __call__(self, step: int) -> float:
        """The rate of a step."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        progress = (step - self.start) / max(self.steps - self.start, 1)
        return self.rate * 0.5 * (1 + math.cos(math.pi * min(progress, 1)))

    def until(self, steps: int, now: int) -> Schedule:
        """Goes on from step `now` at the rate of that step, to 0 at another last step."""
        if steps == self.steps or now < self.warm_up:
            return replace(self, steps=steps)
        return Schedule(self(now), 0, now, steps)


@dataclass
class Run:
    """All that a checkpoint holds."""

    config: RunConfig
    network: ALIKE
    average: ALIKE  # exponential moving average of the network's weights
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    step: int = 0
    seconds: float = 0.0
    best: float = -1.0  # MMA at 3 px, percent
    precision: Precision = field(default_factory=Precision)  # 16-mixed: holds the loss's scale


def start(config: RunConfig) -> Run:
    """A run before its first step."""
    torch.manual_seed(config.seed)
    network = ALIKE(config.variant)
    if config.weights:
        network.load_state_dict(load_alike(config.weights).state_dict())
    if config.part == "scores":
        hold_all_but_scores(network)
    optim = config.optimizer
    optimizer = torch.optim.AdamW(
        network.parameters(), optim.rate, weight_decay=optim.weight_decay
    )
    schedule = Schedule(optim.rate, optim.warm_up, optim.warm_up, optim.steps)
    return Run(config, network, copy.deepcopy(network).eval(), optimizer, schedule)


def hold_all_but_scores(network: ALIKE) -> None:
    """Leaves the last row of the head to be trained: descriptor maps stay what they are."""
    network.requires_grad_(False)
    head: Any = network.convhead2.weight.requires_grad_()
    head.register_hook(lambda grad: torch.cat([torch.zeros_like(grad[:-1]), grad[-1:]]))


@dataclass(frozen=True)
class Losses:
    """That of the first step, and the mean of the last ones; NaN but in the first process."""

    first: float = math.nan
    last: float = math.nan


def train(fabric: Fabric, config: RunConfig, out: Path, resume: bool = False) -> Losses:
    """Trains until the last step, or a signal to stop."""
    run = start(config)
    objective = Objective(run.network, config.loss)
    wrapped, optimizer = fabric.setup(objective, run.optimizer)
    run.average.to(fabric.device)
    run.precision = fabric.strategy.precision
    if resume:
        load_checkpoint(run, out / "last.pt")
    training_pairs, validation_pairs = datasets(config)
    batches = load_batches(fabric, training_pairs, config, run.step)
    log = Log(out, run, fabric.is_global_zero)
    begun, saved = time.monotonic() - run.seconds, time.monotonic()
    with StopSignal() as stop:
        while run.step < config.optimizer.steps and not stop.anywhere(fabric):
            terms = train_step(fabric, wrapped, optimizer, batches, run)
            follow(run.average, run.network, config.optimizer.ema, run.step)
            run.step += 1
            run.seconds = time.monotonic() - begun
            if not fabric.is_global_zero:
                continue
            log.losses(run, terms)
            finished = run.step == config.optimizer.steps
            if run.step % config.validation.every == 0 or finished:
                results = validate(run.average, validation_pairs, config)
                log.validation(run, results, validation_pairs)
                if results["mma@3"] > run.best:
                    run.best = results["mma@3"]
                    save_checkpoint(run, out, "best")
            if time.monotonic() - saved > config.checkpoint_seconds:
                save_checkpoint(run, out, "last")
                saved = time.monotonic()
    if fabric.is_global_zero:
        save_checkpoint(run, out, "last")
    log.close()
    return log.total


def train_step(
    fabric: Fabric, wrapped: Any, optimizer: Any, batches: Iterator[Any], run: Run
) -> dict[str, float]:
    """One update of the weights from `accumulation` microbatches; the mean of their losses."""
    optim = run.config.optimizer
    for group in optimizer.param_groups:
        group["lr"] = run.schedule(run.step)
    wrapped.train(run.config.part == "all")  # what is held keeps the statistics of inference
    sums: dict[str, float] = {}
    for i in range(optim.accumulation):
        microbatch = (run.step * optim.accumulation + i) * fabric.world_size + fabric.global_rank
        generator = torch.Generator().manual_seed((run.config.seed << 32) + microbatch)
        before = parameters_to_vector(statistics(run.network))
        with fabric.no_backward_sync(wrapped, enabled=i < optim.accumulation - 1):
            terms = wrapped(next(batches), generator)
            fabric.backward(terms["loss"] / optim.accumulation)
        if fabric.world_size > 1:
            share_statistics(fabric, run.network, before)
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + term.item() / optim.accumulation
    if optim.clip:
        fabric.clip_gradients(wrapped, optimizer, max_norm=optim.clip)
    optimizer.step()
    optimizer.zero_grad()
    return sums


def statistics(network: ALIKE) -> list[Tensor]:
    """The running means and variances of batch norm."""
    return [buffer for buffer in network.buffers() if buffer.is_floating_point()]


@torch.no_grad()
def share_statistics(fabric: Fabric, network: ALIKE, before: Tensor) -> None:
    """Sets those of every process to what one has that sees their microbatches in turn.

    DDP would take the first process's. `before` are those before the microbatch, the same in all.
    (The term `blank` of a microbatch is taken before, with those of its own process.)
    """
    kept = 1 - float(network.block1.bn1.momentum or 0.0)
    shared = before
    for own in fabric.all_gather(parameters_to_vector(statistics(network))):
        shared = own + kept * (shared - before)  # own is kept * before + its batch's share
    vector_to_parameters(shared, statistics(network))
    for buffer in network.buffers():
        if not buffer.is_floating_point():
            buffer += fabric.world_size - 1  # batches that were seen


def keep_freed_memory() -> None:
    """Has glibc reuse memory of large tensors; fresh pages cost half of the time of a CPU step."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # another C library
    mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, the largest that it takes
    mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


@torch.no_grad()
def follow(average: ALIKE, network: ALIKE, decay: float, step: int) -> None:
    """Moves the averaged weights a little towards the network's, faster at the beginning."""
    decay = min(decay, (1 + step) / (10 + step)) if decay else 0.0
    values = network.state_dict().values()
    for mean, value in zip(average.state_dict().values(), values, strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


class StopSignal:
    """Remembers that this process was asked to stop, so that the run ends with a checkpoint.

    The second request ends it at once.
    """

    def __init__(self) -> None:
        self.received = False

    def __enter__(self) -> StopSignal:
        numbers = (signal.SIGTERM, signal.SIGINT)
        self._before = {number: signal.signal(number, self._on_signal) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def anywhere(self, fabric: Fabric) -> bool:
        """Whether any of the processes was asked to."""
        if fabric.world_size == 1:
            return self.received
        received = torch.tensor(float(self.received), device=fabric.device)
        total = fabric.all_reduce(received, reduce_op="sum")
        return isinstance(total, Tensor) and total.item() > 0

    def _on_signal(self, *_: object) -> None:
        self.received = True
        self.__exit__()


# Logs


@dataclass
class Log:
    """TensorBoard in OUT/log and a progress bar, of the first process alone."""

    out: Path
    run: Run
    wanted: bool
    total: Losses = field(default_factory=Losses)
    _sums: dict[str, float] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        steps, step = self.run.config.optimizer.steps, self.run.step
        self._bar = tqdm(total=steps, initial=step, disable=not self.wanted, mininterval=5)
        self._writer = (
            SummaryWriter(str(self.out / "log"), purge_step=step) if self.wanted else None
        )

    def losses(self, run: Run, terms: dict[str, float]) -> None:
        """Adds up the losses of a step and writes their means now and then."""
        self._bar.update()
        if self.wanted and math.isnan(self.total.first):
            self.total = Losses(terms["loss"])
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        last = run.step == run.config.optimizer.steps
        if self._writer is None or (run.step % LOG_EVERY and not last):
            return
        means = {name: value / self._count for name, value in self._sums.items()}
        rate = run.schedule(run.step - 1)
        for name, value in means.items():
            self._writer.add_scalar(f"loss/{name}", value, run.step)
        self._writer.add_scalar("rate", rate, run.step)
        self._bar.set_postfix({"loss": f"{means['loss']:.3f}", "rate": f"{rate:.1e}"})
        self.total = replace(self.total, last=means["loss"])
        self._sums, self._count = {}, 0

    def validation(self, run: Run, results: dict[str, float], pairs: Pairs) -> None:
        """Writes the metrics, and pictures of the first pairs' keypoints and matches."""
        self._bar.write(
            f"step {run.step}: " + " ".join(f"{k} {v:.1f}" for k, v in results.items())
        )
        if self._writer is None:
            return
        for name, value in results.items():
            self._writer.add_scalar(f"validation/{name}", value, run.step)
        for i in range(min(4, run.config.validation.pairs)):
            picture = draw(pairs[i], match(run.average, pairs[i], run.config))
            self._writer.add_image(f"matches/{i}", picture, run.step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Ends the bar and the files."""
        self._bar.close()
        if self._writer is not None:
            self._writer.close()


# Checkpoints


def save_checkpoint(run: Run, out: Path, name: str) -> None:
    """Writes OUT/name.pt, all that a run needs to go on, and both kinds of weights alone."""
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "model": run.network.state_dict(),
        "average": run.average.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "precision": run.precision.state_dict(),
        "schedule": asdict(run.schedule),
        "state": {"step": run.step, "seconds": run.seconds, "best": run.best},
        "config": asdict(run.config),
        "seed": run.config.seed,
        "commit": commit(),
    }
    partial = out / f".{name}.partial"  # a stop in between leaves the old one
    torch.save(content, partial)
    partial.replace(out / f"{name}.pt")
    save_weights(run.network, out / f"{name}.safetensors")
    save_weights(run.average, out / f"{name}_average.safetensors")


def load_checkpoint(run: Run, path: Path) -> None:
    """Puts a run where it was; another last step bends the schedule from there on.

    Rate, warm-up and weight decay stay those of the checkpoint.
    """
    if not path.is_file():
        raise ConfigError(f"nothing to resume: there is no {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        variant, schedule = content["config"]["variant"], Schedule(**content["schedule"])
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise ConfigError(f"{path} is no checkpoint of a run: {error!r}") from error
    if variant != run.config.variant:
        raise ConfigError(f"{path} is of {variant}, the run file wants {run.config.variant}")
    run.network.load_state_dict(content["model"])
    run.average.load_state_dict(content["average"])
    run.optimizer.load_state_dict(content["optimizer"])
    if content.get("precision"):  # empty but for 16-mixed
        run.precision.load_state_dict(content["precision"])
    run.step, run.seconds, run.best = (content["state"][k] for k in ("step", "seconds", "best"))
    if run.step < run.config.optimizer.steps and schedule(run.step) == 0:
        raise ConfigError(
            f"the run of {path} has ended, its rate is 0: begin another with "
            f"weights={path.with_name('last_average.safetensors')}"
        )
    run.schedule = schedule.until(run.config.optimizer.steps, run.step)


def commit() -> str:
    """The git commit of the code, with a + where files differ from it; empty outside git."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
