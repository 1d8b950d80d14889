"""Our nodes in processes of their own, as a launch file starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import alike_ros
from alike_ros.config import NodeConfig, dump_yaml
from alike_ros.errors import AlikeError

#: A busy machine may take a while to join the threads of a node.
END_TIMEOUT_S = 60.0
_LOG_TAIL = 2000


class NodeProcesses:
    """The nodes' processes, which log into a folder; leaving the context ends them."""

    def __init__(self, config: NodeConfig, split: bool, domain_id: int, folder: Path) -> None:
        parameters = folder / "parameters.yaml"
        parameters.write_text(dump_yaml(config))
        environment = os.environ | {
            "ROS_DOMAIN_ID": str(domain_id),
            # the package may run from its source tree
            "PYTHONPATH": os.pathsep.join(
                filter(
                    None,
                    [str(Path(alike_ros.__file__).parents[1]), os.environ.get("PYTHONPATH")],
                )
            ),
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs = {}
        for name in ("features_node", "tracking_node") if split else ("vo_node",):
            self._logs[name] = folder / f"{name}.log"
            command = [sys.executable, "-m", f"alike_ros.nodes.{name}"]
            with self._logs[name].open("wb") as log:
                self._processes[name] = subprocess.Popen(
                    [*command, "--ros-args", "--params-file", str(parameters)],
                    env=environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for the player
                )

    def check(self) -> None:
        """Raises AlikeError when a process has ended."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise AlikeError(f"{name} ended with code {process.returncode}:\n{self.log()}")

    def log(self) -> str:
        """The last lines that the nodes wrote."""
        texts = [path.read_text(errors="replace").strip() for path in self._logs.values()]
        return "\n".join(text[-_LOG_TAIL:] for text in texts if text)

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return [process.pid for process in self._processes.values()]

    def count_errors(self) -> int:
        """Lines of the severities error and fatal that the nodes wrote."""
        text = "".join(path.read_text(errors="replace") for path in self._logs.values())
        return text.count("[ERROR]") + text.count("[FATAL]")

    def stop(self, timeout_s: float = END_TIMEOUT_S) -> list[int]:
        """Ends the processes as Ctrl-C does; returns their exit codes."""
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self._processes.values():
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return [process.returncode for process in self._processes.values()]

    def __enter__(self) -> NodeProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
