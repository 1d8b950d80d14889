"""The factored forms equal the dense network; weights files are read safely."""

import pickle

import pytest

torch = pytest.importorskip("torch")

from alike_ros.errors import ModelError  # noqa: E402
from alike_ros.network import ALIKE, VARIANTS, load_alike, save_weights  # noqa: E402

SIZES = [(64, 64), (97, 130), (120, 160)]


@pytest.fixture(params=VARIANTS)
def network(request):
    return random_network(request.param)


def random_network(variant: str) -> ALIKE:
    """Random weights and statistics: what a wrong use of either would show up with."""
    torch.manual_seed(0)
    network = ALIKE(variant).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    return network


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_factored_equals_dense(network, height, width):
    image = torch.rand(2, 3, height, width)
    with torch.inference_mode():
        scores, descriptors = network(image)
        levels = network.levels(image)
        factored = network.score_map(levels, height, width)
        keypoints = torch.rand(2, 50, 2) * torch.tensor([width - 1.0, height - 1.0])
        keypoints[:, 0] = torch.tensor([width - 1.0, height - 1.0])  # the last pixel
        sampled = network.describe(levels, keypoints)
        grid = keypoints / torch.tensor([width - 1.0, height - 1.0]) * 2 - 1
        wanted = torch.nn.functional.grid_sample(descriptors, grid[:, None], align_corners=True)
        wanted = torch.nn.functional.normalize(wanted[:, :, 0].mT, dim=-1)
    assert scores.shape == (2, 1, height, width)
    assert descriptors.shape == (2, network.dim, height, width)
    torch.testing.assert_close(factored, scores, atol=1e-5, rtol=0)  # measured 2e-7
    torch.testing.assert_close(sampled, wanted, atol=1e-5, rtol=0)  # measured 1e-6


def test_scores_move_with_the_picture_where_levels_are_not_stretched(network):
    """By a cell of the coarsest level; away from the borders, where padding is seen."""
    picture = torch.nn.functional.interpolate(torch.rand(1, 3, 10, 12), scale_factor=32)
    with torch.no_grad():
        network.convhead2.weight[-1] *= 30  # coarse levels that are seen in the scores
    inner = slice(128, 192)
    moves = {}
    for stretched in (True, False):
        with torch.inference_mode():
            whole, part = (
                network.score_map(network.levels(x), 320, x.shape[-1], stretched)[0, 0, inner]
                for x in (picture, picture[..., 32:])
            )
        moves[stretched] = (whole[:, 160:224] - part[:, 128:192]).abs().max()
    assert moves[False] < 1e-6  # measured 0
    assert moves[True] > 1e-4  # measured 4e-4 to 7e-4


def test_number_of_parameters():
    # M, published, but for alike-s: the paper says 0.14, the released file holds 0.18
    wanted = {"alike-t": 0.08, "alike-s": 0.18, "alike-n": 0.32, "alike-l": 0.65}
    for variant, millions in wanted.items():
        count = sum(p.numel() for p in ALIKE(variant).parameters())
        assert abs(count / 1e6 - millions) < 0.01


def test_weights_round_trip(network, tmp_path):
    for name in ("a.pth", "a.safetensors"):
        path = tmp_path / name
        if path.suffix == ".pth":
            torch.save(network.state_dict(), path)
        else:
            save_weights(network, path)
        loaded = load_alike(path)
        assert loaded.variant == network.variant
        assert not loaded.training
        for key, value in network.state_dict().items():
            torch.testing.assert_close(loaded.state_dict()[key], value, atol=0, rtol=0)


def test_weights_can_be_read_by_whoever_may_read_other_files(tmp_path):
    other = tmp_path / "other"
    other.touch()
    save_weights(ALIKE("alike-t"), tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_mode == other.stat().st_mode
    assert {path.name for path in tmp_path.iterdir()} == {"other", "a.safetensors"}


class _Evil:
    def __reduce__(self):
        return (open, ("/nonexistent/evil", "w"))


def test_bad_weights_are_refused(tmp_path):
    missing = tmp_path / "missing.pth"
    with pytest.raises(ModelError, match="no model file"):
        load_alike(missing)
    code = tmp_path / "code.pth"
    code.write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(ModelError, match="not a readable weights file"):
        load_alike(code)
    for name in ("noise.pth", "noise.safetensors"):
        (tmp_path / name).write_bytes(b"\x00" * 100)
        with pytest.raises(ModelError, match="not a readable weights file"):
            load_alike(tmp_path / name)
    other = tmp_path / "other.pth"
    torch.save({"layer.weight": torch.zeros(3)}, other)
    with pytest.raises(ModelError, match="not an ALIKE network"):
        load_alike(other)
    names = [*(f"block{i}.conv2.weight" for i in (1, 2, 3, 4)), "convhead2.weight"]
    for value in (torch.tensor(0.0), 3):
        torch.save(dict.fromkeys(names, value), other)
        with pytest.raises(ModelError, match="not an ALIKE network"):
            load_alike(other)
    torch.save({"model": "resnet18"}, other)
    with pytest.raises(ModelError, match="holds a str, expected a state dict"):
        load_alike(other)
    wide = tmp_path / "wide.pth"
    torch.save(
        {**ALIKE("alike-t").state_dict(), "block1.conv2.weight": torch.zeros(9, 9, 3, 3)}, wide
    )
    with pytest.raises(ModelError, match="none of alike-t"):
        load_alike(wide)


def test_unknown_variant():
    with pytest.raises(ModelError, match="alike-t, alike-s"):
        ALIKE("alike-xl")


def test_no_keypoints_have_no_descriptors(network):
    features = network.extract(torch.zeros(3, 64, 96), 10, min_score=1.0)
    assert [tuple(x.shape) for x in features] == [(0, 2), (0,), (0, network.dim)]
