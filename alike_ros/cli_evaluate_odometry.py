"""`alike evaluate odometry`: accuracy and robustness of poses, beside the alternatives."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import asdict, fields
from math import inf
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from alike_ros.cli_options import SOURCES, add_network, add_settings, at_least, node_config
from alike_ros.config import Config, flatten
from alike_ros.errors import AlikeError, ConfigError, DataError
from alike_ros.tables import text_table

if TYPE_CHECKING:
    from alike_ros.data import Sequence
    from alike_ros.features import Extractor
    from alike_ros.odometry_evaluation import Contender, Row, Trial

#: A sequence and a contender by their names in the table, and what to run.
Job = tuple[str, "Sequence", str, "Contender", "Trial"]

#: A sequence's name in the table -> its source, and itself.
Sequences = dict[str, tuple[str, "Sequence"]]

#: Name -> value, as JSON holds them; where a sequence is, under its name after _SEQUENCE.
Settings = dict[str, bool | int | float | str]
_SEQUENCE = "SEQUENCE "

OPENCV = "opencv-rgbd"
CONTENDERS = ("alike", "orb", "sift", "rootsift", "xfeat", OPENCV)

_DESCRIPTION = f"""\
Accuracy of the odometry on sequences with a truth: on the frames as they are and, with --perturb,
on worse ones, at three levels each: dropped (single frames), burst (frames dropped in a row),
blackout (2 s after the start), blur (by motion), exposure (steps), jpeg, depth-holes (mode rgbd)
and stamp-jitter.

{SOURCES}

Extractors run before the same odometry with the same settings: alike is --model or the package's
own. {OPENCV} is OpenCV's dense odometry, without features (mode rgbd).

ATE and RPE are of the frames that have a pose, RPE from one to the next: a longer way where frames
are missing. Frames that were seen and have no pose are `lost`, or `init`ialising: in mono, until
two views have made a map. Where there is never a pose, all frames are, and errors are unknown.
NEES is 1 where the covariance of the position is truthful, larger where it is too small, and
unknown in mono. `fps` is of extraction and odometry, one after the other.

Small things decide much of what a single run comes to: --runs N runs each N times. Of several runs
and sequences, the medians follow in a table of their own."""
_EXAMPLES = """\
examples:
  alike evaluate odometry ~/data/rgbd_dataset_freiburg1_xyz --mode rgbd --perturb
  alike evaluate odometry ~/data/kitti/sequences/00 ~/data/MH_01_easy --mode stereo
  alike evaluate odometry render:room --mode rgbd --perturb dropped,blur --extractors alike,orb
  alike evaluate odometry DIR --mode rgbd --runs 5 --perturb dropped
  alike evaluate odometry 'render:room?seed='{0..4} --mode stereo   # five rooms (bash)
  alike evaluate odometry DIR --mode rgbd --perturb --extractors alike,orb,sift,opencv-rgbd \\
      --json rows.json --plot rows.png

The JSON file is a list of rows with the columns of the table. It is written after every run, with
the settings in rows.settings.json beside it, and --resume goes on from it with the same settings.
Ctrl-C keeps what has been computed."""


def add(benchmarks: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command, for the parser of `alike evaluate`."""
    parser = benchmarks.add_parser(
        "odometry",
        help="ATE, RPE and NEES of poses, also when the frames get worse",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=_odometry)
    parser.add_argument("sources", nargs="+", metavar="SEQUENCE", help="a SOURCE, see above")
    parser.add_argument(
        "--perturb",
        nargs="?",
        const="",
        metavar="NAME,...",
        help="also run worse frames, see above; without names: all that matter in the mode",
    )
    parser.add_argument(
        "--extractors",
        default="alike",
        metavar="NAME,...",
        help=f"of {', '.join(CONTENDERS)}; default: alike",
    )
    parser.add_argument(
        "--frames", type=at_least(1), metavar="N", help="the first N of each sequence"
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="of what is random"
    )
    parser.add_argument(
        "--runs",
        type=at_least(1),
        default=1,
        metavar="N",
        help="of each, the k-th begun at the k-th frame, with the seed + k",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw ATE against the level")
    parser.add_argument(
        "--resume", action="store_true", help="keep the rows that are in the JSON file"
    )
    add_network(parser)
    parser.add_argument("--camera", type=Path, metavar="FILE", help="intrinsics: camera.yaml")
    add_settings(parser)


def _odometry(options: argparse.Namespace) -> int:
    """Runs the jobs one by one, and reports also when it is interrupted."""
    config = node_config(options)
    sequences = _sequences(options, config)
    settings = _settings(options, config, sequences)
    rows = _read(options.json, settings) if options.resume else []
    jobs = _jobs(options, config, sequences)
    interrupted = False
    try:
        _run(jobs, config, rows, settings, options)
    except KeyboardInterrupt:
        interrupted = True
    print(_table(rows))
    if medians := _medians(rows):
        print(f"\n{medians}")
    if options.plot and rows:
        _plot(options.plot, rows)
    return 130 if interrupted else 0


def _sequences(options: argparse.Namespace, config: Config) -> Sequences:
    """By their names in the table; those that share a name are called by their sources."""
    from alike_ros.data import open_sequence

    opened = {
        source: open_sequence(source, config.mode, options.camera) for source in options.sources
    }
    for source, sequence in opened.items():
        if sequence.truth is None:
            raise DataError(f"{source} has no truth to compare with: see `alike run`")
    common = Counter(sequence.name for sequence in opened.values())
    return {
        sequence.name if common[sequence.name] == 1 else source: (source, sequence)
        for source, sequence in opened.items()
    }


def _jobs(options: argparse.Namespace, config: Config, sequences: Sequences) -> list[Job]:
    from alike_ros.data.perturbation import PERTURBATIONS
    from alike_ros.odometry_evaluation import trials

    names: list[str] = []
    if options.perturb is not None:
        names = _chosen(options.perturb, tuple(PERTURBATIONS)) or list(PERTURBATIONS)
    contenders = _contenders(options, config)
    return [
        (called, sequence, name, run, trial)
        for called, (_, sequence) in sequences.items()
        for name, run in contenders.items()
        for trial in trials(config.mode, names, options.seed, options.frames, options.runs)
    ]


def _contenders(options: argparse.Namespace, config: Config) -> dict[str, Contender]:
    from alike_ros.odometry_evaluation import FeatureOdometry, OpencvRgbd
    from alike_ros.opencv_odometry import is_available

    contenders: dict[str, Contender] = {}
    for name in _chosen(options.extractors, CONTENDERS):
        if name != OPENCV:
            contenders[name] = FeatureOdometry(_extractor(name, config))
        elif config.mode != "rgbd":
            raise ConfigError(f"{OPENCV} needs depth images: --mode rgbd")
        elif is_available():
            contenders[name] = OpencvRgbd()
        else:
            print(f"{OPENCV}: left out, it needs OpenCV 5")
    if not contenders:
        raise ConfigError(f"--extractors names none that runs, of: {', '.join(CONTENDERS)}")
    for name, contender in contenders.items():
        print(f"{name}: {contender.description}")
    return contenders


def _extractor(name: str, config: Config) -> Extractor:
    from alike_ros.backends import load_extractor, load_other

    return load_extractor(config) if name == "alike" else load_other(name, config.detector.top_k)


def _chosen(text: str, known: tuple[str, ...]) -> list[str]:
    """The names of a list with commas, each once."""
    names = list(dict.fromkeys(name for name in text.split(",") if name))
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown name {name!r}, known are: {', '.join(known)}")
    return names


def _settings(options: argparse.Namespace, config: Config, sequences: Sequences) -> Settings:
    """All that a row depends on and does not tell itself, by name."""
    frames = {"--camera": str(options.camera or ""), "--frames": options.frames or 0}
    places = {_SEQUENCE + name: _place(source) for name, (source, _) in sequences.items()}
    return {**flatten(config), **frames, "--seed": options.seed, **places}


def _place(source: str) -> str:
    """The same from any working directory."""
    return str(Path(source).resolve()) if Path(source).exists() else source


def _run(
    jobs: list[Job],
    config: Config,
    rows: list[Row],
    settings: Settings,
    options: argparse.Namespace,
) -> None:
    """Adds a row per job that has none yet; the file is complete after each."""
    from tqdm import tqdm

    from alike_ros.odometry_evaluation import evaluate

    done = {row.key for row in rows}
    left = [job for job in jobs if (job[0], job[2], *_what(job[4])) not in done]
    lengths = [
        max(min(filter(None, (len(job[1]), options.frames)), default=0) - job[4].run, 0)
        for job in left
    ]
    with tqdm(total=sum(lengths) if all(lengths) else None, unit="frame") as bar:
        for name, sequence, extractor, contender, trial in left:
            bar.set_description(f"{extractor} {trial.perturbation} {trial.level:g}")
            row = evaluate(name, sequence, extractor, contender, trial, config, bar.update)
            rows.append(row)
            if options.json:
                _write(options.json, rows, settings)


def _what(trial: Trial) -> tuple[str, float, int]:
    return trial.perturbation, trial.level, trial.run


def _table(rows: list[Row]) -> str:
    head = ["sequence", "extractor", "perturbation", "level"]
    head += ["ATE m", "RPE m", "RPE deg", "lost", "init", "fps", "NEES", "run"]
    digits = ("g", ".4f", ".4f", ".3f", "d", "d", ".1f", ".2f", "d")
    body = [
        [*row.key[:3], *(_text(value, d) for value, d in zip(_figures(row), digits, strict=True))]
        for row in rows
    ]
    return text_table([head, *body], left=3)


def _medians(rows: list[Row]) -> str:
    """Over sequences and runs; empty where there is one of each. Without a pose, ATE is inf."""
    groups: dict[tuple[str, str, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.extractor, row.perturbation, row.level), []).append(row)
    if all(len(group) == 1 for group in groups.values()):
        return ""
    head = ["extractor", "perturbation", "level", "of", "ATE m", "worst", "lost", "NEES"]
    body = []
    for (extractor, perturbation, level), group in groups.items():
        ate = [inf if row.ate_rmse_m is None else row.ate_rmse_m for row in group]
        nees = [row.nees for row in group if row.nees is not None]
        figures = [len(group), f"{median(ate):.5f}", f"{max(ate):.5f}", sum(r.lost for r in group)]
        figures.append(f"{median(nees):.2f}" if nees else "-")
        body.append([extractor, perturbation, f"{level:g}", *map(str, figures)])
    return "medians\n" + text_table([head, *body], left=2)


def _figures(row: Row) -> list[float | None]:
    """The columns of numbers, from the level on."""
    return [getattr(row, item.name) for item in fields(row)[3:]]


def _text(value: float | None, digits: str) -> str:
    return "-" if value is None else f"{value:{digits}}"


def _read(path: Path | None, settings: Settings) -> list[Row]:
    """The rows of an earlier run with the same settings; none where there is no file yet.

    Where sequences are of which only the file has rows, is added to the settings.
    """
    from alike_ros.odometry_evaluation import Row

    if path is None:
        raise ConfigError("--resume goes on from a file: --json FILE")
    if not path.exists():
        return []
    _check_settings(path, settings)
    try:
        return [Row(**row) for row in json.loads(path.read_text())]
    except OSError as error:
        raise AlikeError(f"cannot read {path}: {error.strerror}") from error
    except (TypeError, ValueError) as error:
        raise AlikeError(f"{path} has no rows of `alike evaluate odometry`: {error}") from error


def _check_settings(path: Path, settings: Settings) -> None:
    """Rows of different settings are not to be compared, and must not stand for each other.

    Adds where the sequences of before are.
    """
    beside = _settings_path(path)
    try:
        before: Settings = dict(json.loads(beside.read_text()))
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{beside} does not tell the settings of {path}: leave out --resume, or take another "
            f"--json ({error})"
        ) from error
    for one, other in ((before, settings), (settings, before)):  # each may have its own sequences
        one |= {name: other[name] for name in other.keys() - one if name.startswith(_SEQUENCE)}
    names = [n for n in {**before, **settings} if before.get(n) != settings.get(n)]
    if names:
        changes = ", ".join(f"{n} {before.get(n)!r}, now {settings.get(n)!r}" for n in names)
        raise ConfigError(
            f"{path} is of other settings ({changes}): take the same, leave out --resume, or take "
            "another --json"
        )


def _settings_path(path: Path) -> Path:
    return path.with_suffix(".settings.json")


def _write(path: Path, rows: list[Row], settings: Settings) -> None:
    from alike_ros.whole_file import write_whole

    write_whole(path, json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    # after the rows: a stop in between leaves rows that are refused, never wrong ones
    write_whole(_settings_path(path), json.dumps(settings, indent=2) + "\n")


def _plot(path: Path, rows: list[Row]) -> None:
    from alike_ros.robustness_plot import plot_robustness

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        plot_robustness(path, rows)
    except (OSError, ValueError) as error:  # matplotlib: an ending that it does not know
        raise AlikeError(f"cannot draw {path}: {error}") from error
