"""The card of a model: figures of a table and of the JSON file are the same."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from alike_ros.network import load_alike
from training.card import FIGURES, main
from training.placement import placement

MODEL = Path(__file__).parents[2] / "models" / "alike-t.safetensors"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A single photo, which serves as held back, of blurred noise at two scales."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    noise = sum(
        cv2.resize(rng.uniform(0, 128, (h, w, 3)), (720, 560), interpolation=cv2.INTER_CUBIC)
        for h, w in ((14, 18), (140, 180))
    )
    cv2.imwrite(str(folder / "noise.png"), np.clip(noise, 0, 255).astype(np.uint8))
    return folder


def test_card_of_the_default_model(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "card.json"
    arguments = [str(MODEL), "--photos", str(photos), "--pairs", "2", "--json", str(out)]
    assert main(arguments) == 0
    (card,) = json.loads(out.read_text())
    assert list(card) == ["model", *FIGURES]
    printed = capsys.readouterr().out.splitlines()[-1].split()
    assert printed == [str(MODEL), *(format(card[name], style) for name, style in FIGURES.items())]
    assert card["little mma@3"] > 30  # 43 measured
    assert card["much mma@3"] > 8  # 16
    assert 0 < card["strong"] < 5000

    picture = torch.from_numpy(cv2.imread(str(photos / "noise.png"))[:, :, ::-1].copy())
    network = load_alike(MODEL)
    expected = placement(
        [picture.permute(2, 0, 1)], lambda image: network.extract(image / 255, 0, 0.0)[:2]
    )
    assert [card[name] for name in vars(expected)] == pytest.approx(list(vars(expected).values()))


def test_no_photos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(MODEL), "--photos", str(tmp_path / "none")]) == 1
    assert "python -m training.photos" in capsys.readouterr().err
