"""Smooth camera motions of realistic speed, by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alike_ros.geometry import Array, from_Rt, rotation_exp

Motion = Callable[[float, np.random.Generator], Array]


def still(_seconds: float, _random: np.random.Generator) -> Array:
    """No motion at all."""
    return np.eye(4)


def circle(seconds: float, _random: np.random.Generator) -> Array:
    """0.5 m/s on a circle of 1 m radius, looking ahead and outwards: one turn in 12.6 s."""
    angle = 0.5 * seconds
    position = [np.sin(angle), 0.1 * np.sin(1.3 * seconds), np.cos(angle)]
    yaw = angle + np.radians(30)  # 0 looks outwards, 90 degrees along the path
    pitch = np.radians(4) * np.sin(0.9 * seconds)
    return from_Rt(_turned(yaw, pitch), np.array(position))


def forward(seconds: float, _random: np.random.Generator) -> Array:
    """1 m/s along z for 12 m, slowing down, and back the same way; sways a little."""
    sway = 0.15 * np.sin(0.8 * seconds)
    position = np.array([sway, 0.02 * np.sin(5 * seconds), 12 * np.sin(seconds / 12)])
    yaw = np.radians(5) * np.sin(0.6 * seconds)
    return from_Rt(_turned(yaw, np.radians(1) * np.sin(3 * seconds)), position)


def shake(seconds: float, random: np.random.Generator) -> Array:
    """Hand-held, all six degrees of freedom: some 0.5 m/s and 30 degrees/s."""
    frequency_hz, phase = random.uniform(0.3, 0.9, (6, 2)), random.uniform(0, 2 * np.pi, (6, 2))
    waves = np.sin(2 * np.pi * frequency_hz * seconds + phase).mean(1)
    return from_Rt(rotation_exp(np.radians(10) * waves[:3]), 0.15 * waves[3:])


def _turned(yaw: float, pitch: float) -> Array:
    return np.asarray(rotation_exp(np.array([0, yaw, 0])) @ rotation_exp(np.array([pitch, 0, 0])))


#: seconds and a generator, in the same state at each call -> scene_from_cam.
MOTIONS: dict[str, Motion] = {
    "circle": circle,
    "forward": forward,
    "shake": shake,
    "still": still,
}


def path(motion: str, frames: int, rate_hz: float, seed: int) -> Array:
    """Poses scene_from_cam (frames, 4, 4) of a motion of MOTIONS."""
    move = MOTIONS[motion]
    return np.stack([move(i / rate_hz, np.random.default_rng(seed)) for i in range(frames)])
