"""Packaging for colcon (ament_python) and pip."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "alike_ros"
ROOT = Path(__file__).parent


def share(folder: str, *patterns: str) -> tuple[str, list[str]]:
    """Files of a folder for share/alike_ros/FOLDER."""
    files = [path for pattern in patterns for path in (ROOT / folder).glob(pattern)]
    return f"share/{NAME}/{folder}", sorted(str(path.relative_to(ROOT)) for path in files)


setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        share("launch", "*.launch.py"),
        share("config", "*.yaml", "*.xml"),
        share("rviz", "*.rviz"),
        share("models", "*.onnx", "*.safetensors", "*.md"),
    ],
    # On a robot rosdep installs what package.xml names; pip must not put a second OpenCV there.
    install_requires=["setuptools"],
    extras_require={
        "standalone": [
            "evo",
            # no other platform has wheels; without it there is no bundle adjustment
            "gtsam; platform_machine in 'x86_64 aarch64'",
            "matplotlib",
            # compiles the network, which is faster than onnxruntime; not tried on other processors
            "numba; platform_machine in 'x86_64 AMD64'",
            "numpy",
            "onnxruntime",
            "opencv-python-headless",
            "PyYAML",
            "rosbags",
            "scikit-image",
            "tqdm",
        ],
        "rerun": ["rerun-sdk"],
        "train": ["h5py", "lightning-fabric", "onnx", "safetensors", "tensorboard", "torch"],
        "test": [
            "mypy",
            "openvino; platform_machine in 'x86_64 AMD64'",
            "pytest",
            "pytest-xdist",
            "ruff",
            "types-PyYAML",
            "types-tqdm",
        ],
    },
    python_requires=">=3.10",
    zip_safe=True,
    maintainer="The alike_ros maintainers",
    maintainer_email="maintainers@users.noreply.github.com",
    description="Visual odometry with learned features (ALIKE), on CPUs and GPUs",
    license="BSD-3-Clause",
    entry_points={
        "console_scripts": [
            "alike = alike_ros.cli:main",
            "doctor = alike_ros.cli_doctor:main",
            "features_node = alike_ros.nodes.features_node:main",
            "tracking_node = alike_ros.nodes.tracking_node:main",
            "vo_node = alike_ros.nodes.vo_node:main",
        ],
    },
)
