"""`alike evaluate`: the features themselves, and the odometry, on public benchmarks."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alike_ros import cli_evaluate_odometry
from alike_ros.config import PROVIDERS, Config, DetectorConfig
from alike_ros.errors import AlikeError
from alike_ros.tables import text_table

if TYPE_CHECKING:
    from alike_ros.features import Extractor
    from alike_ros.homography_evaluation import Figures, MatchedPair

#: Name of a scene, or "mean" -> name of an extractor -> its figures.
Table = Mapping[str, Mapping[str, "Figures"]]

EXTRACTORS = ("orb", "sift", "rootsift", "xfeat")
CORRECT_PX = 3  # for pictures, and for Rep and MS in the table

_DESCRIPTION = """\
Repeatability (Rep), matching score (MS), matching accuracy (MMA) and homography accuracy (MHA) of
features on pairs of images that a known homography relates.

DIR holds scenes as HPatches does: folders with 1.ppm (or .png), 2.ppm, ... and H_1_2, H_1_3, ...
Matches are mutual nearest neighbours. All figures are percent: means over the pairs of a scene,
then over scenes; MHA is a mean over ten RANSACs as well."""
_EXAMPLES = """\
examples:
  alike evaluate homography hpatches-sequences-release --without-large
  alike evaluate homography DIR --model alike-t.onnx alike-n.pth --extractor sift orb --top-k 2000
  alike evaluate homography DIR --model alike-t.pth --pixel --json result.json --pictures out

The JSON file holds rep, ms, mma and mha (lists, at 1 to 5 pixels), keypoints (per image), and
scenes (the same by name). With several extractors, it holds that for each of them by name."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command, for the parser of `alike`."""
    parser = commands.add_parser("evaluate", help="features or odometry on a benchmark")
    benchmarks = parser.add_subparsers(required=True, metavar="BENCHMARK")
    _add_homography(benchmarks)
    cli_evaluate_odometry.add(benchmarks)


def _add_homography(benchmarks: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = benchmarks.add_parser(
        "homography",
        help="Rep, MS, MMA and MHA on scenes in the layout of HPatches",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=_homography)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument(
        "--model",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATH",
        help=".onnx, .pth, .safetensors or the name of a fetched model; default: the package's",
    )
    parser.add_argument(
        "--extractor",
        nargs="+",
        action="extend",
        default=[],
        choices=EXTRACTORS,
        metavar="NAME",
        help=f"others to compare with: {', '.join(EXTRACTORS)}",
    )
    parser.add_argument(
        "--top-k",
        type=int,
        metavar="N",
        help="the N best keypoints of an image; default: those above 0.2, at most 5000",
    )
    parser.add_argument(
        "--min-score",
        type=float,
        metavar="S",
        help="lowest score of a model's keypoint; default: 0.2, none with --top-k",
    )
    parser.add_argument("--pixel", action="store_true", help="models without sub-pixel positions")
    parser.add_argument(
        "--without-large",
        action="store_true",
        help="without the eight largest scenes of HPatches, as published results are",
    )
    parser.add_argument("--provider", choices=PROVIDERS, default="auto", help="runs the models")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help=f"draw the matches of each pair; green: within {CORRECT_PX} pixels",
    )


def _homography(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from alike_ros.data.hpatches import LARGE, read_scenes
    from alike_ros.homography_evaluation import Figures, evaluate

    scenes = read_scenes(options.folder)
    if options.without_large:
        scenes = [scene for scene in scenes if scene.name not in LARGE]
        if not scenes:
            raise AlikeError(f"{options.folder} has none but the large scenes")
    extractors = _extractors(options)
    figures: dict[str, dict[str, Figures]] = {scene.name: {} for scene in scenes}
    pairs = sum(len(scene.views) for scene in scenes)
    with tqdm(total=pairs * len(extractors), unit="pair") as bar:
        for name, extractor in extractors.items():
            bar.set_description(name)
            on_pair = _on_pair(name, options.pictures, bar.update)
            for scene in scenes:
                figures[scene.name][name] = evaluate(extractor, scene, on_pair)
    means = {n: Figures.mean([figures[s.name][n] for s in scenes]) for n in extractors}
    for name, extractor in extractors.items():
        print(f"{name}: {extractor.description}")
    print(f"{pairs} pairs of {len(scenes)} scenes; {_keypoints(_detector(options))}; percent\n")
    print(_table({**figures, "mean": means}))
    if options.json:
        _write_json(options.json, figures, means)
    return 0


def _extractors(options: argparse.Namespace) -> dict[str, Extractor]:
    """Models first, in the order of the command line; their names are unique."""
    from alike_ros.backends import load_extractor, load_other
    from alike_ros.backends.model_file import DEFAULT_MODEL

    detector = _detector(options)
    models = options.model or ([] if options.extractor else [""])
    stems = Counter([*(Path(model or DEFAULT_MODEL).stem for model in models), *options.extractor])
    extractors: dict[str, Extractor] = {}
    for model in models:
        stem = Path(model or DEFAULT_MODEL).stem
        config = Config(model=model, provider=options.provider, detector=detector)
        extractors[stem if stems[stem] == 1 else model] = load_extractor(config)
    for name in options.extractor:
        extractors[name] = load_other(name, detector.top_k)
    return extractors


def _detector(options: argparse.Namespace) -> DetectorConfig:
    top_k, min_score = options.top_k or 0, options.min_score
    if min_score is None:  # the best N of an image are its best N, however low they score
        min_score = 0.0 if top_k else 0.2
    return DetectorConfig(top_k, min_score, not options.pixel)


def _on_pair(
    name: str, pictures: Path | None, advance: Callable[[], Any]
) -> Callable[[MatchedPair], None]:
    def done(pair: MatchedPair) -> None:
        if pictures:
            _draw(pair, pictures / name.replace("/", "-"))
        advance()

    return done


def _draw(pair: MatchedPair, folder: Path) -> None:
    """FOLDER/SCENE-1-NUMBER.jpg."""
    import cv2

    from alike_ros.match_pictures import draw_matches

    points0, points1 = (
        shot.features.keypoints[pair.matches[:, side]]
        for side, shot in enumerate((pair.first, pair.other))
    )
    images = pair.first.image, pair.other.image
    picture = draw_matches(*images, points0, points1, pair.errors <= CORRECT_PX)
    encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    path = folder / f"{pair.scene}-1-{pair.number}.jpg"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise AlikeError(f"cannot write {path}: {error.strerror}") from error


def _keypoints(detector: DetectorConfig) -> str:
    number = f"at most {detector.top_k or 5000} keypoints"
    score = f" above {detector.min_score:g}" if detector.min_score else ""
    return number + score + ("" if detector.sub_pixel else ", whole pixels")


def _table(figures: Table) -> str:
    """A line for each scene and extractor, the extractors of a scene below each other."""
    thresholds = range(1, 6)
    head = ["keypoints", f"Rep@{CORRECT_PX}", f"MS@{CORRECT_PX}"]
    head += [f"{name}@{t}" if t == 1 else f"@{t}" for name in ("MMA", "MHA") for t in thresholds]
    rows = [["scene", "extractor", *head]]
    for scene, by_name in figures.items():
        for name, f in by_name.items():
            shares = [f.rep[CORRECT_PX - 1], f.ms[CORRECT_PX - 1], *f.mma, *f.mha]
            numbers = [f"{f.keypoints:.0f}", *(f"{100 * share:.2f}" for share in shares)]
            rows.append([scene, name, *numbers])
    return text_table(rows, left=2)


def _write_json(path: Path, figures: Table, means: Mapping[str, Figures]) -> None:
    from alike_ros.whole_file import write_whole

    results = {
        name: mean.percent() | {"scenes": {s: by[name].percent() for s, by in figures.items()}}
        for name, mean in means.items()
    }
    content = results if len(results) > 1 else next(iter(results.values()))
    write_whole(path, json.dumps(content, indent=2) + "\n")
