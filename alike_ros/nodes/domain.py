"""A ROS domain of one's own."""

from __future__ import annotations

import random
import socket

from alike_ros.errors import AlikeError

#: Processes of a domain that are looked for. Each takes the next port; the first may be gone while
#: others are still there.
_PARTICIPANTS = 20


def free_domain() -> int:
    """A ROS domain in which no process of this machine is. Raises AlikeError where there is none.

    DDS gives the n-th participant of domain d port 7400 + 250 d + 10 + 2 n (DDSI-RTPS, 9.6.1).
    """
    for domain_id in random.SystemRandom().sample(range(1, 102), 50):
        first = 7400 + 250 * domain_id + 10
        if all(_is_free(first + 2 * n) for n in range(_PARTICIPANTS)):
            return domain_id
    raise AlikeError("no free ROS domain on this machine: end other ROS processes")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True
