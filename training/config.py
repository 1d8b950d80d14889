"""Every setting of a training run, in frozen dataclasses; a run file sets what differs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

from alike_ros.errors import ConfigError


@dataclass(frozen=True)
class ViewConfig:
    """How two views of one photo differ."""

    corners: float = 0.26  # corners of the oblique view move by this share of its sides
    rotation: float = 0.35  # standard deviation of the roll, radians
    max_rotation: float = 1.2
    log_zoom: float = 1.0  # scale between the views is within exp(+-log_zoom), however strong
    shift: float = 0.1  # standard deviation of the shift, in sides of the view
    frontal: float = 0.3  # strength of corners and rotation in the nearly frontal view
    mildest: float = 0.2  # strength of both in a pair, up to 1
    min_scale: float = 0.75  # photo pixels per view pixel; the largest is what fits
    shifted: float = 0.0  # share of pairs that only differ by a shift of whole pixels
    repeated: float = 0.0  # share of pairs whose photo is overlaid with a piece of it as tiles


@dataclass(frozen=True)
class PhotometryConfig:
    """How light and camera differ between views. All 0 leaves the pictures alone."""

    log_gamma: float = 0.5
    log_gain: float = 0.5
    log_colour: float = 0.15
    saturation: float = 0.4
    shadow_share: float = 0.5
    shadow: float = 0.7
    blur_share: float = 0.6
    blur: float = 4.0  # pixels at most, mostly less: photos scaled down are sharper than cameras
    noise_share: float = 0.6
    noise: float = 0.04  # standard deviation, of 1
    grain_share: float = 0.5  # noise as cameras leave it, smooth over pixels
    grey_share: float = 0.1
    jpeg_share: float = 0.3
    jpeg_quality: int = 25  # the lowest


@dataclass(frozen=True)
class SceneConfig:
    """Made-up scenes of photos, seen twice."""

    share: float = 0.0  # of the batches of kind homography that show scenes instead
    boards: int = 8  # at most
    ground: float = 0.7  # share of scenes that have one
    sides: float = 0.4  # share of scenes that have a wall at one side
    forward: float = 0.5  # the second camera is at most so far ahead, in depths of the scene
    sideways: float = 0.12  # standard deviation, in depths of the scene
    turn: float = 0.1  # standard deviation about each axis, radians


@dataclass(frozen=True)
class DataConfig:
    """Pairs of views from a folder `root` of photos, of MegaDepth or of RGB-D sequences."""

    kind: str = "homography"  # homography, megadepth or rgbd
    # a folder of photos; DISK's json file; sources of alike_ros.data with spaces between
    root: str = "photos"
    pairs: int = 0  # so many distinct pairs, again and again; 0: no end of them
    height: int = 256
    width: int = 256
    workers: int = 1
    views: ViewConfig = field(default_factory=ViewConfig)
    scenes: SceneConfig = field(default_factory=SceneConfig)
    photometry: PhotometryConfig = field(default_factory=PhotometryConfig)


@dataclass(frozen=True)
class LossConfig:
    """Points that losses are taken at, their temperatures and weights."""

    top_k: int = 400  # detected keypoints per image
    random_points: int = 400
    thin_radius: float = 2.0  # random points this close to better ones are dropped; 0: none are
    nre_map: str = "dense"  # dense: the whole other map; grid: a grid and the other's points
    stride: int = 8  # of the grid, pixels
    max_distance: float = 5.0  # nearest keypoints farther apart do not correspond, pixels
    exclusion: float = 4.0  # what is closer to the true point does not compete (grid), pixels
    t_des: float = 0.02
    t_rel: float = 1.0  # used with the dense map
    reprojection: float = 1.0
    dispersity: float = 0.5
    nre: float = 5.0
    reliability: float = 1.0
    triplet: float = 0.0  # ablation, with the grid
    # not in the paper:
    blank: float = 0.0  # scores of keypoints in pictures that show nothing
    stretch: float = 0.0  # how far the stretched coarse levels pull keypoints
    quiet: float = 0.0  # the mean score of all pixels: no other term says how high scores are
    quiet_cell: int = 0  # pixels: scores are rather spread over cells of this size; 0: no cells
    mirror: float = 0.0  # how far keypoints move on the picture when it is mirrored


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam, warm-up from 0 and a cosine to 0."""

    steps: int = 20_000
    rate: float = 3e-3
    warm_up: int = 500
    weight_decay: float = 0.0
    batch_size: int = 1
    accumulation: int = 16
    clip: float = 0.0  # largest norm of the gradient; 0: any
    ema: float = 0.999  # decay of the averaged weights; 0: no average
    precision: str = "32-true"  # of the encoder; losses are taken in float32


@dataclass(frozen=True)
class ValidationConfig:
    """Pairs from held-back photos or scenes."""

    every: int = 1000  # steps
    pairs: int = 32
    top_k: int = 1000
    height: int = 480
    width: int = 640


#: Settings that have a least value.
_LEAST = {
    "seed": 0,
    "data.pairs": 0,
    "data.height": 32,
    "data.width": 32,
    "data.workers": 0,
    "loss.stride": 1,
    "loss.quiet_cell": 0,
    "optimizer.steps": 1,
    "optimizer.batch_size": 1,
    "optimizer.accumulation": 1,
    "validation.every": 1,
    "validation.pairs": 1,
    "validation.height": 32,
    "validation.width": 32,
}


@dataclass(frozen=True)
class RunConfig:
    """One training run. Raises ConfigError for values that no run can have."""

    variant: str = "alike-t"
    seed: int = 0
    weights: str = ""  # weights file to start from; empty: random weights
    part: str = "all"  # what is trained: all, or scores, the weights of the score map alone
    checkpoint_seconds: float = 120.0
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = attrgetter(name)(self)
            if value < least:
                raise ConfigError(f"{name} is {value}, expected at least {least}")
        if self.loss.nre_map not in ("dense", "grid"):
            raise ConfigError(f"loss.nre_map is {self.loss.nre_map!r}, expected dense or grid")
        if self.part not in ("all", "scores"):
            raise ConfigError(f"part is {self.part!r}, expected all or scores")
        if self.part == "scores" and self.optimizer.weight_decay:
            raise ConfigError("optimizer.weight_decay would move what part=scores leaves alone")


def load_run(path: Path) -> RunConfig:
    """The settings of a run file (YAML): the defaults, and what the file sets."""
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"run file {path} cannot be read: {error}") from error
    config: RunConfig = update(RunConfig(), values)
    return config


def override(config: RunConfig, assignments: list[str]) -> RunConfig:
    """A copy with each `dotted.name=value` set; values are written as in YAML."""
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"{assignment!r} is not of the form name=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"the value of {assignment!r} is not YAML") from error
        for part in reversed(name.split(".")):
            value = {part: value}
        config = update(config, value)
    return config


def update(config: Any, values: dict[str, Any], path: str = "") -> Any:
    """A copy of a config with nested values set; unknown names and wrong types are errors."""
    if not isinstance(values, dict):
        raise ConfigError(f"{path or 'a run file'} needs settings below it, not {values!r}")
    known = {f.name: getattr(config, f.name) for f in fields(config)}
    changed = {}
    for name, value in values.items():
        dotted = f"{path}.{name}" if path else str(name)
        if name not in known:
            raise ConfigError(f"unknown setting {dotted!r}, known are {', '.join(sorted(known))}")
        old = known[name]
        if is_dataclass(old):
            value = update(old, value, dotted)
        elif isinstance(old, float) and type(value) in (int, str):
            value = _float(value)
        if type(value) is not type(old):
            raise ConfigError(f"{dotted} is {value!r}, expected {type(old).__name__}")
        changed[name] = value
    return replace(config, **changed)


def _float(value: int | str) -> Any:
    """The number; YAML takes 3e-3, without a point, for text. Other text stays what it is."""
    try:
        return float(value)
    except ValueError:
        return value
