"""Collecting photos: which pictures are taken, under which licence; nothing is downloaded."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from alike_ros.errors import DataError
from training import photos
from training.data.homography import list_photos
from training.photos import Origin, Source

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2020 Somebody
License: GPL-2+

Files: nature/Dune.jpg
       nature/Storm.png
Copyright: 2007 A. Nother
License: CC-BY-SA-4.0
Comment: a file that was converted since

Files: debian/*
Copyright: 2021 The Packager
License: Expat

License: GPL-2+
 The text.
"""


def photo(seed: int, height: int = 400, width: int = 500) -> np.ndarray:
    """Clouds with grain, as a camera's."""
    rng = np.random.default_rng(seed)
    clouds = cv2.resize(rng.uniform(40, 215, (9, 9, 3)), (width, height))
    return (clouds + rng.normal(0, 6, (height, width, 3))).clip(0, 255).astype(np.uint8)


def write(path: Path, image: np.ndarray) -> tuple[Path, Origin]:
    cv2.imwrite(str(path), image)
    return path, Origin("package", "1.0", path.name, "CC0-1.0")


def test_each_photo_once_in_its_largest_size(tmp_path: Path) -> None:
    large = photo(1, 800, 1000)
    found = [
        write(tmp_path / "small.png", cv2.resize(large, (500, 400), interpolation=cv2.INTER_AREA)),
        write(tmp_path / "large.png", large),
        write(tmp_path / "other.png", photo(2)),
    ]
    manifest = photos.store(found, tmp_path / "out")
    assert [entry.path for entry in manifest] == ["large.png", "other.png"]
    assert (manifest[0].width, manifest[0].height) == (1000, 800)
    for entry in manifest:
        content = (tmp_path / "out" / entry.file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry.sha256
        assert entry.licence == "CC0-1.0"


def test_huge_photos_are_reduced(tmp_path: Path) -> None:
    (entry,) = photos.store([write(tmp_path / "a.png", photo(1, 1500, 3000))], tmp_path / "out")
    assert (entry.width, entry.height) == (2560, 1280)


def test_drawings_icons_and_cut_outs_are_left_out(tmp_path: Path) -> None:
    drawing = np.full((400, 500, 3), 200, np.uint8)
    cv2.circle(drawing, (250, 200), 150, (0, 0, 255), -1)
    cut_out = np.dstack([photo(3), np.full((400, 500), 255, np.uint8)])
    cut_out[:50, :, 3] = 0
    found = [
        write(tmp_path / "drawing.png", drawing),
        write(tmp_path / "icon.png", photo(4, 128, 128)),
        write(tmp_path / "cut_out.png", cut_out),
    ]
    (tmp_path / "torn.jpg").write_bytes(b"no picture")
    found.append((tmp_path / "torn.jpg", found[0][1]))
    assert photos.store(found, tmp_path / "out") == []


def test_graf_of_the_benchmark_is_never_taken() -> None:
    (source,) = [source for source in photos.DEBIAN if source.package == "opencv-doc"]
    folder = "usr/share/doc/opencv-doc/examples/data"
    assert source.takes(f"{folder}/home.jpg")
    for name in ("graf1.png", "graf3.png"):
        assert not source.takes(f"{folder}/{name}")


# Licences


@pytest.mark.parametrize(
    ("path", "licence"),
    [
        ("usr/share/backgrounds/mate/nature/Dune.jpg", "CC-BY-SA-4.0"),
        ("usr/share/backgrounds/mate/nature/Storm.webp", "CC-BY-SA-4.0"),  # converted
        ("usr/share/backgrounds/Dune.jpg", "CC-BY-SA-4.0"),  # installed without its folder
        ("usr/share/backgrounds/mate/nature/Wood.jpg", "GPL-2+"),
    ],
)
def test_licence_is_that_of_the_last_paragraph_that_names_the_file(
    path: str, licence: str
) -> None:
    assert photos.licence_of(path, photos.read_copyright(COPYRIGHT)) == licence


def test_unpacked_packages_carry_their_licences(tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    documents = folder / "usr/share/doc/pack"
    documents.mkdir(parents=True)
    (documents / "copyright").write_text(COPYRIGHT)
    (folder / "nature").mkdir()
    (folder / "nature/Dune.jpg").touch()
    (folder / "nature/screenshot.jpg").touch()
    source = Source("pack", exclude=("*screenshot*",))
    ((path, origin),) = photos.debian_pictures(source, folder, "2.0")
    assert path.name == "Dune.jpg"
    assert origin == Origin("pack", "2.0", "nature/Dune.jpg", "CC-BY-SA-4.0")


# Qt resources


def rcc(files: dict[str, tuple[bytes, int]]) -> bytes:
    """A resource file, format 2, with one folder `images`; flag 1 is zlib."""
    names, tree, data = b"", b"", b""

    def name_at(name: str) -> int:
        nonlocal names
        offset = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        return offset

    root = name_at("")
    tree += struct.pack(">IHIIQ", root, 2, 1, 1, 0)
    tree += struct.pack(">IHIIQ", name_at("images"), 2, len(files), 2, 0)
    for name, (content, flags) in files.items():
        if flags == 1:
            content = struct.pack(">I", len(content)) + zlib.compress(content)
        tree += struct.pack(">IHIIQ", name_at(name), flags, 0, len(data), 0)
        data += struct.pack(">I", len(content)) + content
    start = 20
    offsets = (start + len(data) + len(names), start, start + len(data))
    return b"qres" + struct.pack(">4I", 2, *offsets) + data + names + tree


def test_resource_files_give_their_files() -> None:
    packed = rcc({"a.webp": (b"plain", 0), "b.png": (b"squeezed" * 9, 1), "c.jpg": (b"zstd", 4)})
    assert dict(photos.read_rcc(packed)) == {
        "images/a.webp": b"plain",
        "images/b.png": b"squeezed" * 9,
    }


def test_resource_files_become_folders(tmp_path: Path) -> None:
    (tmp_path / "art.rcc").write_bytes(rcc({"a.webp": (b"x", 0), "b.qml": (b"y", 0)}))
    photos.unpack_resources(tmp_path)
    files = [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()]
    assert files == ["art.rcc/images/a.webp"]


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no Debian")
def test_a_package_whose_unpacking_was_stopped_is_unpacked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)  # there may be no apt-get
    (tmp_path / "tree" / "DEBIAN").mkdir(parents=True)
    (tmp_path / "tree" / "DEBIAN" / "control").write_text(
        "Package: art\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: art\n"
    )
    (tmp_path / "tree" / "art.rcc").write_bytes(rcc({"a.webp": (b"x", 0)}))
    photos.run(["dpkg-deb", "-b", "tree", "art_1_all.deb"], tmp_path, "")
    (tmp_path / "art.part" / "art.rcc" / "images").mkdir(parents=True)  # in place of the file
    (tmp_path / "art.part" / "art.rcc" / "images" / "a.webp").touch()
    folder, version = photos.unpack_debian("art", tmp_path)
    assert version == "1"
    assert (folder / "art.rcc" / "images" / "a.webp").read_bytes() == b"x"


# The command


def test_without_apt_the_error_says_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert photos.main([str(tmp_path / "out")]) == 1
    assert "needs Debian or Ubuntu" in capsys.readouterr().err


def test_failed_downloads_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="broken off"):
        photos.run(["python3", "-c", "raise SystemExit('broken off')"], tmp_path, "hint")


def scenery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only package there is, unpacked: its folder, with one photo and a button."""
    folder = tmp_path / "out.packages" / "scenery"
    (folder / "usr/share/doc/scenery").mkdir(parents=True)
    (folder / "usr/share/doc/scenery/copyright").write_text(COPYRIGHT)
    cv2.imwrite(str(folder / "Dune.jpg"), photo(1))
    cv2.imwrite(str(folder / "button.png"), photo(2, 64, 64))
    (tmp_path / "out.packages" / "scenery_1%3a2.0-1_all.deb").touch()
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr(photos, "DEBIAN", (Source("scenery"),))
    monkeypatch.setattr(photos, "PYPI", ())
    return folder


def test_manifest_lists_what_was_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else is trained on. A package that is there already needs no network."""
    scenery(tmp_path, monkeypatch)
    assert photos.main([str(tmp_path / "out")]) == 0
    (entry,) = json.loads((tmp_path / "out" / "photos.json").read_text())["photos"]
    assert list_photos(tmp_path / "out") == [tmp_path / "out" / entry["file"]]
    assert entry["version"] == "1:2.0-1"
    assert entry["licence"] == "CC-BY-SA-4.0"


def test_photos_that_are_in_the_collection_no_more_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """But no file that this command did not write, or that has been changed since."""
    folder, out = scenery(tmp_path, monkeypatch), tmp_path / "out"
    for seed, name in enumerate(("Storm", "Wood"), 3):
        cv2.imwrite(str(folder / f"{name}.jpg"), photo(seed))
    assert photos.main([str(out)]) == 0
    stored = {path.name.split("_")[1]: path for path in list_photos(out)}
    assert set(stored) == {"Dune", "Storm", "Wood"}
    write(out / "own.jpg", photo(5))
    write(stored["Wood"], photo(6))
    for name in ("Storm", "Wood"):
        (folder / f"{name}.jpg").unlink()
    assert photos.main([str(out)]) == 0
    assert set(list_photos(out)) == {stored["Dune"], stored["Wood"], out / "own.jpg"}
    assert f"{stored['Wood']} stays" in caplog.text


def test_files_outside_the_folder_are_never_removed(tmp_path: Path) -> None:
    """Whatever a manifest lists."""
    (tmp_path / "out").mkdir()
    (tmp_path / "other.jpg").write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    for name in ("../other.jpg", str(tmp_path / "other.jpg")):
        listed = photos.Photo(name, digest, 1, 1, "package", "1.0", "a.jpg", "CC0-1.0")
        photos.remove_dropped([listed], [], tmp_path / "out")
    assert (tmp_path / "other.jpg").exists()


def test_a_manifest_of_something_else_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos.json").write_text('{"photos": [1]}')
    cache = str(tmp_path.with_name(f"{tmp_path.name}.packages"))
    assert photos.main([str(tmp_path), "--cache", cache]) == 1
    assert "is not from an earlier run" in capsys.readouterr().err


def test_packages_among_the_photos_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert photos.main([str(tmp_path), "--cache", str(tmp_path / "cache")]) == 1
    assert "below which every picture is trained on" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
