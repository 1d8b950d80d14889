"""A widened network computes what the narrow one does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from alike_ros.errors import ModelError
from alike_ros.network import ALIKE, load_alike, save_weights
from training.widen import main, widened


@pytest.fixture
def narrow() -> ALIKE:
    """alike-t with random weights and statistics."""
    torch.manual_seed(0)
    network = ALIKE("alike-t")
    with torch.no_grad():
        for name, values in network.state_dict().items():
            if "running" in name or ("bn" in name and values.dim()):
                values.uniform_(0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize("variant", ["alike-t", "alike-s", "alike-n"])
@torch.inference_mode()
def test_scores_and_similarities_are_those_of_the_narrow_network(
    narrow: ALIKE, variant: str
) -> None:
    wide = widened(narrow, variant, torch.Generator().manual_seed(1))
    image = torch.rand(1, 3, 96, 128)
    scores, descriptors = narrow(image)
    wide_scores, wide_descriptors = wide(image)
    torch.testing.assert_close(wide_scores, scores, atol=1e-5, rtol=0)
    torch.testing.assert_close(gram(wide_descriptors), gram(descriptors), atol=1e-5, rtol=0)


def gram(descriptors: torch.Tensor) -> torch.Tensor:
    """Similarities of some of the pixels."""
    some = descriptors[0].flatten(1)[:, ::97]
    return some.T @ some


def test_copies_are_not_trained_alike(narrow: ALIKE) -> None:
    wide = widened(narrow, "alike-n", torch.Generator().manual_seed(1)).train()
    scores, descriptors = wide(torch.rand(1, 3, 64, 64))
    (scores.sum() + descriptors[:, :, :32].sum()).backward()
    gradient = wide.block2.conv1.weight.grad
    assert gradient is not None
    own, copy = gradient[:16], gradient[16:]
    assert (own - copy).norm() > 0.1 * own.norm()  # measured: 0.51


def test_what_is_not_wider_is_an_error(narrow: ALIKE) -> None:
    generator = torch.Generator()
    wide = widened(narrow, "alike-n", generator)
    with pytest.raises(ModelError, match="not wider than alike-n"):
        widened(wide, "alike-s", generator)
    with pytest.raises(ModelError, match="other layers than alike-t"):
        widened(narrow, "alike-l", generator)


def test_the_command_writes_weights_that_load(
    narrow: ALIKE, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_weights(narrow, tmp_path / "t.safetensors")
    out = tmp_path / "new" / "n.safetensors"
    assert main([str(tmp_path / "t.safetensors"), "--variant", "alike-n", "--out", str(out)]) == 0
    assert load_alike(out).variant == "alike-n"
    assert main([str(tmp_path / "none.pth"), "--variant", "alike-n", "--out", str(out)]) == 1
    assert "no model file" in capsys.readouterr().err
