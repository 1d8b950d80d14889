"""How fast extraction and odometry are, beside the alternatives, measured in turn.

Machines are shared and noisy: every round runs each contender once, so that a slow minute slows
all of them, and medians with their quartiles are reported.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.backends.forms import FeaturesForm
from alike_ros.backends.gpu import GraphSource, cuda_options
from alike_ros.backends.onnx import OnnxExtractor
from alike_ros.backends.providers import GPU, chain, first_that_starts, provider_options
from alike_ros.config import Config, DetectorConfig
from alike_ros.data import open_sequence
from alike_ros.errors import ModelError
from alike_ros.features import Extractor
from alike_ros.memory import resident_mb
from alike_ros.odometry import VisualOdometry
from alike_ros.resources import share_path

#: Keypoints of the whole extraction: as many as the odometry asks for.
TOP_K = 1000
#: Seconds before each run: worker threads of the one before go on spinning for a while.
_REST_S = 0.05
#: Of the default model.
_WEIGHTS = "models/alike-t.safetensors"
log = logging.getLogger(__name__)

#: Side of the matrices whose product gives the machine's peak.
_GEMM = {"cpu": 1024, "cuda": 8192}


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of repeated times, milliseconds."""

    median: float
    low: float
    high: float


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    warmup: int,
    repeats: int,
    tick: Callable[[], object] = lambda: None,
) -> dict[str, Spread]:
    """Times of functions that are run in turn, `repeats` times each; tick is called per round."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for i in range(warmup + repeats):
        for name, run in contenders.items():
            time.sleep(_REST_S)
            start = time.perf_counter()
            run()
            if i >= warmup:
                times[name].append((time.perf_counter() - start) * 1e3)
        tick()
    quartiles = {name: np.percentile(values, [50, 25, 75]) for name, values in times.items()}
    return {name: Spread(*map(float, q)) for name, q in quartiles.items()}


def photo(height: int, width: int) -> NDArray[np.uint8]:
    """A frame of a rendered room, RGB, at a size."""
    frame = next(iter(open_sequence("render:room?frames=2")))
    return np.asarray(cv2.resize(frame.image, (width, height)), np.uint8)


def multiply_adds(variant: str, height: int, width: int) -> int:
    """Of the inference graph: encoder, levels and score path, without resampling.

    alike-l's score path is dense.
    """
    from alike_ros.network import VARIANTS

    channels, dim = VARIANTS[variant].channels, VARIANTS[variant].dim
    height, width = (side + -side % 32 for side in (height, width))
    total, c_in = 0, 3
    for i, (c, stride) in enumerate(zip(channels, (1, 2, 8, 32), strict=True)):
        pixels = height * width // stride**2
        skip = c_in * c if i else 0
        level = c * dim // 4 + (dim // 4 if VARIANTS[variant].single_head else 0)
        total += pixels * (9 * c_in * c + 9 * c * c + skip + level)
        c_in = c
    if not VARIANTS[variant].single_head:
        total += height * width * (dim * dim + dim)
    return total


def measure_extraction(
    variant: str,
    size: tuple[int, int],
    config: Config,
    warmup: int,
    repeats: int,
    folder: Path,
    tick: Callable[[], object],
) -> dict[str, Any]:
    """One row of the benchmark: dense torch, plain dense ONNX, our network, our extraction.

    alike-t has the default model's weights, the others have random ones: with these, more pixels
    compete to be keypoints. `folder` takes the exported graphs.
    Of the config, provider (auto is the best on the CPU), precision and threads count. With a
    provider for GPUs, torch uses the GPU as well if it can, the plain ONNX has the same provider,
    and our network finds the keypoints itself.
    """
    import torch

    from alike_ros.network import ALIKE, load_alike
    from alike_ros.network.export import export

    torch.set_num_threads(config.num_threads)
    shipped = variant == "alike-t"
    network = load_alike(share_path(_WEIGHTS)) if shipped else ALIKE(variant).eval()
    image = photo(*size)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    dense = _dense_session(network, x, folder / f"{variant}-dense.onnx", config)
    ours = folder / f"{variant}.onnx"
    export(network, ours)
    extractor = _extractor(ours, size, config)
    device = "cuda" if config.provider in GPU and torch.cuda.is_available() else "cpu"
    network, x_there = network.to(device), x.to(device)
    side = _GEMM[device]
    a, b = (torch.rand(side, side, device=device) for _ in range(2))
    fed = {"image": x.numpy()}

    def in_torch(run: Callable[[], object]) -> None:
        with torch.inference_mode():
            run()
        if device == "cuda":
            torch.cuda.synchronize()

    products: dict[str, Callable[[], object]] = {"gemm": lambda: in_torch(lambda: torch.mm(a, b))}
    if device == "cpu":  # torch's is the slower of the two on AMD's processors
        products["gemm_onnx"] = _product(a.numpy(), b.numpy(), config)
    times = interleaved(
        {
            "dense_torch": lambda: in_torch(lambda: network(x_there)),
            "dense_onnx": lambda: dense.run(None, fed),
            "network": lambda: extractor.run(image),
            "extract": lambda: extractor(image),
            **products,
        },
        warmup,
        repeats,
        tick,
    )
    # the peak: the faster quartile of the faster product
    gemm_gflops = 2 * side**3 / min(times[name].low for name in products) / 1e6
    gflops = 2 * multiply_adds(variant, *size) / times["network"].median / 1e6
    row: dict[str, Any] = {"variant": variant, "height": size[0], "width": size[1]}
    row["provider"] = extractor.provider
    row["precision"] = config.precision
    for name in ("dense_torch", "dense_onnx", "network", "extract"):
        row[f"{name}_ms"] = times[name].median
        row[f"{name}_quartiles_ms"] = [times[name].low, times[name].high]
    row["gemm_gflops"] = gemm_gflops
    row["network_efficiency"] = gflops / gemm_gflops
    row["peak_rss_mb"] = _peak_memory(ours, size, replace(config, provider=extractor.provider))
    return row


def measure_classical(
    size: tuple[int, int], num_threads: int, warmup: int, repeats: int
) -> dict[str, float]:
    """Milliseconds of ORB and SIFT, and of XFeat where it is installed, on the same image."""
    from alike_ros.backends.classical import OrbExtractor, SiftExtractor
    from alike_ros.backends.xfeat import XFeatExtractor

    image = photo(*size)
    cv2.setNumThreads(num_threads)
    extractors: dict[str, Extractor] = {"orb": OrbExtractor(TOP_K), "sift": SiftExtractor(TOP_K)}
    try:
        extractors["xfeat"] = XFeatExtractor(TOP_K)
    except ModelError as error:
        log.info("without XFeat: %s", error)
    contenders = {name: partial(run, image) for name, run in extractors.items()}
    times = interleaved(contenders, warmup, repeats)
    return {name: spread.median for name, spread in times.items()}


def measure_odometry(config: Config, frames: int, tick: Callable[[], object]) -> dict[str, Any]:
    """The RGB-D loop at 640x480 and 1000 keypoints on a rendered room, per frame.

    Says whether cost grows with the run: medians of its first and its last tenth, and memory at
    a tenth of it and at its end.
    """
    from alike_ros.backends import load_extractor

    config = replace(config, mode="rgbd", detector=DetectorConfig(top_k=TOP_K))
    sequence = open_sequence(f"render:room?frames={frames}", "rgbd")
    extractor, odometry = load_extractor(config), VisualOdometry(sequence.camera, config)
    extract, track, memory = [], [], []
    for frame in sequence:
        start = time.perf_counter()
        features = extractor(frame.image)
        middle = time.perf_counter()
        odometry.track(frame.stamp_ns, features, frame.depth)
        track.append((time.perf_counter() - middle) * 1e3)
        extract.append((middle - start) * 1e3)
        memory.append(resident_mb())
        tick()
    loop = np.add(extract, track)
    tenth = max(frames // 10, 1)
    return {
        "frames": frames,
        "extract_ms": float(np.median(extract)),
        "track_ms": float(np.median(track)),
        "loop_ms": float(np.median(loop)),
        "loop_over_extract": float(np.median(loop) / np.median(extract)),
        "fps": float(1e3 / np.median(loop)),
        "first_tenth_ms": float(np.median(loop[:tenth])),
        "last_tenth_ms": float(np.median(loop[-tenth:])),
        "rss_after_tenth_mb": memory[tenth - 1],
        "rss_end_mb": memory[-1],
    }


def _extractor(model: Path, size: tuple[int, int], config: Config) -> OnnxExtractor:
    """Of the graph that the provider is given in earnest, with always as many keypoints."""
    # the score of the 1000th keypoint is the scene's business
    detector = DetectorConfig(top_k=TOP_K, min_score=0.0)
    if config.provider not in GPU:

        def start(provider: str) -> OnnxExtractor:
            return OnnxExtractor(model, detector, provider, config.num_threads)

        return first_that_starts(config.provider, start, without=GPU)
    form = FeaturesForm.for_detector(size, detector, config.precision)
    graph = GraphSource(model).graph(form)
    options = (
        cuda_options()
        if config.provider == "cuda"
        else provider_options("tensorrt", config.precision)
    )
    return OnnxExtractor(graph, detector, config.provider, config.num_threads, options)


def _dense_session(network: Any, x: Any, path: Path, config: Config) -> Any:
    """The network as torch exports it: float image in, score and descriptor map out."""
    import warnings

    import onnxruntime
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter is to go; the new needs onnxscript
        torch.onnx.export(
            network, (x,), str(path), input_names=["image"], opset_version=17, dynamo=False
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = config.num_threads
    # OpenVINO is not onnxruntime's: the yardstick on CPUs is onnxruntime's own provider
    provider = config.provider if config.provider in GPU else "cpu"
    providers = chain(provider, provider_options(provider))
    return onnxruntime.InferenceSession(str(path), options, providers=providers)


def _product(
    a: NDArray[np.float32], b: NDArray[np.float32], config: Config
) -> Callable[[], object]:
    """The product of two matrices with onnxruntime on the CPU, ready to run."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    left, out = (helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n in "ac")
    node, right = helper.make_node("MatMul", ["a", "b"], ["c"]), numpy_helper.from_array(b, "b")
    model = helper.make_model(
        helper.make_graph([node], "product", [left], [out], [right]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = config.num_threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=chain("cpu", provider_options("cpu"))
    )
    return lambda: session.run(None, {"a": a})


_MEMORY = """
import sys
import numpy as np
from alike_ros.backends import load_extractor
from alike_ros.config import Config
height, width, threads = map(int, sys.argv[2:5])
provider, precision = sys.argv[5:]
extractor = load_extractor(
    Config(model=sys.argv[1], provider=provider, precision=precision, num_threads=threads)
)
image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
for _ in range(5):
    extractor(image)
status = open("/proc/self/status").read()  # getrusage's peak starts with the parent's
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


def _peak_memory(model: Path, size: tuple[int, int], config: Config) -> float:
    """Peak resident memory of a process that does nothing but extract, MB."""
    arguments = [model, *size, config.num_threads, config.provider, config.precision]
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, *map(str, arguments)], check=True, stdout=subprocess.PIPE
    )
    return float(done.stdout)
