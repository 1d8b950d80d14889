"""A run of ours has a ROS domain to itself."""

import random
import socket

import pytest

from alike_ros.errors import AlikeError
from alike_ros.nodes.domain import free_domain


@pytest.mark.parametrize("participant", [0, 1, 7])
def test_a_domain_with_any_participant_left_is_not_free(
    participant: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that outlived the others answered what was played to another one."""
    taken, free = free_domain(), 0
    while free in (0, taken):
        free = free_domain()
    monkeypatch.setattr(random.SystemRandom, "sample", lambda *_: domains)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as node:
        node.bind(("", 7400 + 250 * taken + 10 + 2 * participant))
        domains = [taken, free]
        assert free_domain() == free
        domains = [taken]
        with pytest.raises(AlikeError, match="end other ROS processes"):
            free_domain()
    assert free_domain() == taken
