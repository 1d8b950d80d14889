"""The mean of two trainings."""

import pytest
import torch

from alike_ros.errors import ModelError
from alike_ros.network import ALIKE, load_alike, save_weights
from training.average import main, mean, measure_statistics
from training.data.drawings import write_drawings
from training.objective import to_float


def made(seed: int, variant: str = "alike-t") -> ALIKE:
    torch.manual_seed(seed)
    return ALIKE(variant)


def test_weights_are_the_weighted_mean():
    a, b = made(0).state_dict(), made(1).state_dict()
    got = mean([made(0), made(1)], [3, 1]).state_dict()
    for name, values in got.items():
        if values.is_floating_point():
            torch.testing.assert_close(values, 0.75 * a[name] + 0.25 * b[name])


def test_the_same_weights_may_be_named_twice(tmp_path, monkeypatch):
    monkeypatch.setattr("training.average.measure_statistics", lambda *_: None)
    write_drawings(tmp_path / "photos")
    for seed in (0, 1):
        save_weights(made(seed), tmp_path / f"{seed}.safetensors")
    parts = [f"{tmp_path / str(seed)}.safetensors=1" for seed in (0, 1, 0, 0)]
    photos = f"data.root={tmp_path / 'photos'}"
    assert main([*parts, "--out", str(tmp_path / "mean.safetensors"), "--set", photos]) == 0
    expected = mean([made(0), made(1)], [3, 1]).state_dict()
    for name, values in load_alike(tmp_path / "mean.safetensors").state_dict().items():
        torch.testing.assert_close(values, expected[name])


def test_different_variants_have_no_mean():
    with pytest.raises(ModelError, match="different variants"):
        mean([made(0), made(0, "alike-n")], [1, 1])


def test_statistics_are_those_of_the_pictures():
    """Maps that batch norm has seen have mean 0 and variance 1 on the same pictures."""
    generator = torch.Generator().manual_seed(0)

    def picture():
        return torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=generator)

    pairs = [{"image0": picture(), "image1": picture()} for _ in range(2)]
    network = made(0)
    norm = next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    norm.running_mean += 5.0
    norm.num_batches_tracked += 100  # of a training
    seen = []
    hook = norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    measure_statistics(network, pairs, 1)
    hook.remove()
    (maps,) = seen
    torch.testing.assert_close(norm.running_mean, maps.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.running_var, maps.var(dim=(0, 2, 3)))
    assert not network.training
    assert norm.momentum == 0.1
    assert torch.isfinite(network.levels(to_float(pairs[0]["image0"][None]))[0]).all()


def test_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("training.average.BATCHES", 2)
    write_drawings(tmp_path / "photos")
    for seed in (0, 1):
        save_weights(made(seed), tmp_path / f"{seed}.safetensors")
    parts = [f"{tmp_path / '0.safetensors'}=1", f"{tmp_path / '1.safetensors'}=1"]
    out = tmp_path / "new" / "mean.safetensors"
    small = ["data.height=64", "data.width=64", f"data.root={tmp_path / 'photos'}"]
    settings = [word for value in small for word in ("--set", value)]
    assert main([*parts, "--out", str(out), *settings]) == 0
    assert load_alike(out).state_dict().keys() == made(0).state_dict().keys()
    assert main([str(tmp_path / "0.safetensors"), "--out", str(out)]) == 1
    assert "not of the form WEIGHTS=SHARE" in capsys.readouterr().err
    first = parts[0].removesuffix("1")
    for shares in (["0", "0"], ["nan", "1"], ["inf", "1"]):
        assert main([*(first + share for share in shares), "--out", str(out), *settings]) == 1
        assert "expected more than 0" in capsys.readouterr().err
