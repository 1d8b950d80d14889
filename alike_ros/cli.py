"""The command line `alike`. What a command needs is imported when it runs: --help is instant."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from alike_ros import cli_bag, cli_bench, cli_doctor, cli_evaluate, cli_models
from alike_ros.cli_options import (
    SOURCES,
    add_command,
    add_settings,
    add_source,
    at_least,
    node_config,
    settings,
)
from alike_ros.config import Config, NodeConfig, dump_yaml
from alike_ros.errors import AlikeError

if TYPE_CHECKING:
    from alike_ros.data import CameraFrame, Sequence
    from alike_ros.odometry import VisualOdometry
    from alike_ros.replay import Step
    from alike_ros.results import Run


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns its exit code: 1 for an error that the user can mend."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except AlikeError as error:
        print(f"alike: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("alike: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `alike config | head`
        sys.stderr.close()
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="alike", description="Visual odometry with learned features (ALIKE)."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands)
    _add_demo(commands)
    _add_export(commands)
    _add_config(commands)
    cli_bag.add(commands)
    cli_bench.add(commands)
    cli_doctor.add(commands)
    cli_evaluate.add(commands)
    cli_models.add(commands)
    return parser


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands,
        "run",
        _run,
        "odometry on a sequence, without ROS",
        SOURCES,
        """\
  alike run render:room --mode rgbd
  alike run ~/data/rgbd_dataset_freiburg1_xyz --mode rgbd --output out/xyz
  alike run ~/data/kitti/sequences/00 --mode stereo --set detector.top_k=2000
  alike run drive.mp4 --camera camera.yaml
  alike run render:room --mode rgbd --rerun room.rrd""",
    )
    add_source(parser)
    parser.add_argument("--frames", type=at_least(1), metavar="N", help="stop after N frames")
    parser.add_argument(
        "--rerun",
        type=Path,
        metavar="FILE",
        help="record images, matches, map and times, for `rerun FILE`; needs rerun-sdk",
    )


def _run(options: argparse.Namespace) -> int:
    """Writes trajectory.tum, trajectory.png, metrics.json and config.yaml; prints a table."""
    from alike_ros.backends import load_extractor
    from alike_ros.replay import replay
    from alike_ros.results import Run

    config = node_config(options)
    sequence = _open(options, config)
    extractor = load_extractor(config)
    print(f"{sequence.name}: mode {config.mode}, {extractor.description}")
    run = Run()
    interrupted = False
    frames = _progress(islice(sequence, options.frames), sequence, options.frames, run)
    with _observer(options.rerun, sequence, config) as observe:
        try:
            replay(frames, sequence, extractor, config, run, observe)
        except KeyboardInterrupt:
            interrupted = True
    _report(options, run, config, sequence, extractor.description)
    return 130 if interrupted else 0


@contextmanager
def _observer(
    path: Path | None, sequence: Sequence, config: Config
) -> Iterator[Callable[[Step, VisualOdometry], None]]:
    """What looks at each frame of a replay: a recording if a file is wanted."""
    from alike_ros.replay import ignore

    if path is None:
        yield ignore
        return
    from alike_ros.recording import Recording

    floor = config.matching.min_similarity
    with Recording(path, sequence.name, sequence.camera, floor) as recording:
        yield recording.add
    print(f"recorded: {path}")


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands,
        "demo",
        _demo,
        "a sequence through the real ROS 2 nodes",
        "Plays a sequence as ROS 2 messages into the nodes, which run in processes of their own,\n"
        "and compares the odometry that comes back with the truth. Needs rclpy.\n\n" + SOURCES,
        """\
  alike demo
  alike demo 'render:corridor?motion=forward' --mode stereo
  alike demo ~/data/rgbd_dataset_freiburg1_xyz --mode rgbd --split""",
    )
    add_source(parser, default="render:room?frames=300", mode="rgbd")
    parser.add_argument(
        "--split", action="store_true", help="features and tracking in two processes"
    )
    parser.add_argument(
        "--rate", type=float, default=0.0, metavar="HZ", help="0, the default: as fast as they go"
    )


def _demo(options: argparse.Namespace) -> int:
    """The same files and table as `alike run`."""
    try:
        from alike_ros.nodes.playback import run_through_nodes
    except ModuleNotFoundError as error:
        raise AlikeError(
            f"the demo needs ROS 2 ({error.name} is missing): source /opt/ros/DISTRO/setup.bash, "
            "or run `make demo`, which installs it; `alike run` goes without"
        ) from error
    config = node_config(options)
    sequence = _open(options, config)
    nodes = "features_node and tracking_node" if options.split else "vo_node"
    print(f"{sequence.name}: mode {config.mode}, through {nodes}")
    run = run_through_nodes(sequence, config, options.split, options.rate)
    _report(options, run, config, sequence, nodes)
    return 130 if run.interrupted else 0


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands,
        "export",
        _export,
        "weights to an ONNX inference graph, checked against torch",
        "WEIGHTS is a .pth or .safetensors file of alike-t, -s, -n or -l. Needs torch and onnx.\n"
        "For the providers tensorrt and cuda it may be a graph (.onnx): then torch is not needed.",
        """\
  alike export alike-t.pth
  alike export alike-n.pth --size 480x640 --output alike-n-480x640.onnx
  alike export alike-t.onnx --provider tensorrt --size 480x640 --set precision=fp16""",
    )
    parser.add_argument("weights", type=Path, metavar="WEIGHTS")
    parser.add_argument("--variant", help="refuse weights of another variant than this")
    parser.add_argument("--size", default="", metavar="HxW", help="one image size; default: any")
    parser.add_argument("--output", type=Path, help="default: WEIGHTS with the ending .onnx")
    parser.add_argument(
        "--provider",
        choices=("cpu", "cuda", "tensorrt"),
        default="cpu",
        help="cpu, the default: any provider runs the graph; cuda: keypoints are found in the "
        "graph, for one size; tensorrt: builds the engine for this machine, into engine_cache_dir",
    )
    add_settings(parser)


def _export(options: argparse.Namespace) -> int:
    try:
        return (_export_maps if options.provider == "cpu" else _export_for_gpu)(options)
    except OSError as error:
        raise AlikeError(f"cannot export: {error}") from error


def _export_maps(options: argparse.Namespace) -> int:
    try:
        from alike_ros.network import load_alike
        from alike_ros.network.export import export_checked
    except ModuleNotFoundError as error:
        raise AlikeError(
            f"export needs {error.name}: pip install torch onnx safetensors"
        ) from error
    height, width = cli_bench.parse_size(options.size) if options.size else (0, 0)
    network = load_alike(options.weights)
    if options.variant not in (None, network.variant):
        raise AlikeError(f"{options.weights} is {network.variant}, not {options.variant}")
    output = options.output or options.weights.with_suffix(".onnx")
    difference = export_checked(network, output, height, width)
    size = f"{height}x{width}" if height else "images of any size"
    print(f"{output}: {network.variant} for {size}; scores differ from torch by {difference:.1e}")
    return 0


def _export_for_gpu(options: argparse.Namespace) -> int:
    """A graph with the keypoints in it, or the engine that `provider: tensorrt` will look for."""
    from alike_ros.backends.forms import FeaturesForm
    from alike_ros.backends.gpu import Engine, GraphSource, check_starts
    from alike_ros.backends.model_file import onnx_file
    from alike_ros.resources import cache_dir

    if not options.size:
        raise AlikeError(f"export for {options.provider} needs one image size: --size HxW")
    size = cli_bench.parse_size(options.size)
    config = settings(options, Config())
    if options.provider == "tensorrt":
        check_starts("tensorrt")
    cache = cache_dir(config.engine_cache_dir)
    source = GraphSource(onnx_file(str(options.weights), cache))
    form = FeaturesForm.for_detector(size, config.detector, config.precision)
    if options.provider == "cuda":
        name = f"{options.weights.stem}-{options.size}-top{form.top_k}-{form.precision}.onnx"
        output = options.output or options.weights.with_name(name)
        output.write_bytes(source.graph(form))
        print(f"{output}: {form.top_k} keypoints of {options.size}, {form.precision}")
        return 0
    engine = Engine(source, form, config, cache)
    if engine.folder is None:
        raise AlikeError(f"cannot write the engine to {cache}: --set engine_cache_dir=...")
    if not engine.is_built:
        _wait("building the TensorRT engine, which takes minutes", engine.load)
    print(f"{engine.folder}: the TensorRT engine for {options.size}, {form.precision}")
    return 0


def _wait(text: str, work: Callable[[], object]) -> None:
    """Runs work in a thread, so that Ctrl-C ends the command; shows the time that it takes."""
    from concurrent.futures import Future
    from threading import Thread

    from tqdm import tqdm

    done: Future[object] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except Exception as error:  # raised again below
            done.set_exception(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    with tqdm(desc=text, bar_format="{desc}: {elapsed}") as bar:
        while thread.is_alive():
            thread.join(0.5)
            bar.refresh()
    done.result()


def _add_config(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands,
        "config",
        _print_config,
        "every setting with its default and meaning",
        "Prints a ROS parameter file, which `alike run --config` and the nodes read.",
        """\
  alike config > vo.yaml
  alike config --ros --set mode=stereo
  alike config --table > doc/parameters.md""",
    )
    parser.add_argument("--ros", action="store_true", help="also what only the ROS nodes use")
    parser.add_argument(
        "--table", action="store_true", help="the parameters of the ROS nodes, in Markdown"
    )
    add_settings(parser)


def _print_config(options: argparse.Namespace) -> int:
    if options.table:
        from alike_ros.parameter_table import parameter_table

        print(parameter_table(), end="")
        return 0
    config = settings(options, NodeConfig() if options.ros else Config())
    print(dump_yaml(config, comments=True), end="")
    return 0


def _open(options: argparse.Namespace, config: Config) -> Sequence:
    from alike_ros.data import open_sequence

    return open_sequence(options.source, config.mode, options.camera)


def _progress(
    frames: Iterator[CameraFrame], sequence: Sequence, limit: int | None, run: Run
) -> Iterator[CameraFrame]:
    """The frames behind a progress bar that tells the state of the odometry."""
    from tqdm import tqdm

    total = min(filter(None, (len(sequence), limit)), default=None)
    with tqdm(frames, total=total, unit="frame", smoothing=0.05) as bar:
        for frame in bar:
            yield frame
            if run.estimates:
                bar.set_postfix_str(run.estimates[-1].status.value, refresh=False)


def _report(
    options: argparse.Namespace, run: Run, config: Config, sequence: Sequence, ran: str
) -> None:
    from alike_ros.results import measure, table, write

    metrics, errors = measure(run, config.mode, sequence.truth)
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in sequence.name)
    output = options.output or Path("output") / f"{name}-{config.mode}"
    paths = write(output, run, metrics, errors, config, f"{sequence.name}, {config.mode}, {ran}")
    print(table(metrics))
    for reason, count in sequence.skipped.items():
        print(f"skipped: {count} x {reason}")
    print("written: " + " ".join(map(str, paths)))
