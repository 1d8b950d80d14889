"""Signals are noted, and the handlers from before come back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from alike_ros.nodes.ending import SIGNALS, Ending


@pytest.fixture
def ending() -> Iterator[Ending]:
    noted = Ending()
    yield noted
    noted.close()


@pytest.mark.parametrize("kind", SIGNALS)
def test_first_is_noted_second_interrupts(ending: Ending, kind: signal.Signals) -> None:
    assert not ending.is_due
    os.kill(os.getpid(), kind)
    assert ending.is_due
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), kind)


def test_handlers_come_back() -> None:
    before = [signal.getsignal(kind) for kind in SIGNALS]
    Ending().close()
    assert [signal.getsignal(kind) for kind in SIGNALS] == before
