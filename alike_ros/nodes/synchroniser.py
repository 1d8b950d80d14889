"""Messages of several topics, brought together by their stamps. No ROS here."""

from __future__ import annotations

from collections import Counter, deque
from typing import Generic, TypeVar

T = TypeVar("T")

#: Two stamps in a row this far behind the newest are a clock that was set back (a bag that loops),
#: not messages that come late.
CLOCK_JUMP_NS = 1_000_000_000
#: So are as many in a row that are behind at all (a bag shorter than that).
MAX_LATE = 10


class Synchroniser(Generic[T]):
    """Finds for each message of topic 0 its nearest partner on every other topic.

    A partner is final as soon as nothing nearer can follow, because stamps ascend on each topic:
    messages with a stamp that does not ascend are left out, unless those that follow show that the
    clock was set back: then they are the first of the new time. Groups come out in the order of
    their stamps. What was left out is counted in `dropped`, by reason, partners apart from
    messages of topic 0, so that the counts of these add up; so are clocks set back.
    """

    def __init__(self, topics: int, max_interval_ns: int, queue_size: int) -> None:
        self.max_interval_ns = max_interval_ns
        self.dropped: Counter[str] = Counter()
        self.clock_jumps = 0
        self.offset_ns = 0  # between the stamps of the last group, at most
        #: between the last unpaired message and its nearest; None where a topic is silent
        self.apart_ns: int | None = None
        self._size = queue_size
        self._waiting: list[deque[tuple[int, T]]] = [deque() for _ in range(topics)]
        self._late: list[list[tuple[int, T]]] = [[] for _ in range(topics)]  # in a row, ascending
        self._newest = [-1] * topics
        self._gap = [0] * topics  # between the two newest stamps

    def add(self, topic: int, stamp_ns: int, message: T) -> list[tuple[T, ...]]:
        """Takes a message; returns the groups that it completes, in the order of the topics."""
        if 0 < stamp_ns < self._newest[topic]:
            return self._add_late(topic, stamp_ns, message)
        self._drop_late(topic)
        if stamp_ns <= self._newest[topic]:
            self._drop("duplicate" if stamp_ns == self._newest[topic] else "late", topic)
            return []
        return self._add_next(topic, stamp_ns, message)

    def _add_late(self, topic: int, stamp_ns: int, message: T) -> list[tuple[T, ...]]:
        """Keeps a message that is behind until the next ones tell why."""
        late = self._late[topic]
        if late and stamp_ns <= late[-1][0]:  # no clock
            self._drop_late(topic)
        late.append((stamp_ns, message))
        far = stamp_ns < self._newest[topic] - CLOCK_JUMP_NS
        if len(late) < (2 if far else MAX_LATE):
            return []
        return self._set_back()

    def _set_back(self) -> list[tuple[T, ...]]:
        """Forgets all messages and stamps of before; those that were late are the first ones."""
        self.clock_jumps += 1
        self.dropped["unpaired"] += len(self._waiting[0])
        topics = range(len(self._waiting))
        first = [(topic, *item) for topic in topics for item in self._late[topic]]
        first.sort(key=lambda item: item[1])  # so that none waits longer than the queue is
        for topic in topics:
            self._waiting[topic].clear()
            self._late[topic].clear()
            self._newest[topic], self._gap[topic] = -1, 0
        return [group for item in first for group in self._add_next(*item)]

    def _drop_late(self, topic: int) -> None:
        for _ in self._late[topic]:
            self._drop("late", topic)
        self._late[topic].clear()

    def _drop(self, reason: str, topic: int) -> None:
        self.dropped[reason if topic == 0 else f"{reason}_partner"] += 1

    def _add_next(self, topic: int, stamp_ns: int, message: T) -> list[tuple[T, ...]]:
        if self._newest[topic] >= 0:
            self._gap[topic] = stamp_ns - self._newest[topic]
        self._newest[topic] = stamp_ns
        queue = self._waiting[topic]
        queue.append((stamp_ns, message))
        if len(queue) > self._size:
            oldest, _ = queue.popleft()
            if topic == 0:
                self.dropped["unpaired"] += 1
                self.apart_ns = None
                if min(self._newest) >= 0:
                    others = range(1, len(self._waiting))
                    self.apart_ns = max(self._distance(other, oldest) for other in others)
        return self._groups()

    def _groups(self) -> list[tuple[T, ...]]:
        first, *others = self._waiting
        groups = []
        while first:
            stamp, message = first[0]
            partners = [self._partner(topic + 1, stamp) for topic in range(len(others))]
            if -1 in partners:  # it cannot have a partner any more
                self.dropped["unpaired"] += 1
                self.apart_ns = self._distance(partners.index(-1) + 1, stamp)
            elif None in partners:
                break
            else:
                found = [q[i][1] for q, i in zip(others, partners, strict=True) if i is not None]
                groups.append((message, *found))
                chosen = [q[i][0] for q, i in zip(others, partners, strict=True) if i is not None]
                self.offset_ns = max((abs(other - stamp) for other in chosen), default=0)
                for queue, index in zip(others, partners, strict=True):
                    for _ in range((index or 0) + 1):
                        queue.popleft()
            first.popleft()
        return groups

    def _distance(self, topic: int, stamp: int) -> int:
        """From a stamp to the nearest that is known of a topic."""
        stamps = [self._newest[topic], *(other for other, _ in self._waiting[topic])]
        return min(abs(other - stamp) for other in stamps)

    def _partner(self, topic: int, stamp: int) -> int | None:
        """Index in the topic's queue; None while it may still come, -1 when it cannot."""
        queue, newest = self._waiting[topic], self._newest[topic]
        distances = [abs(other - stamp) for other, _ in queue]
        nearest = min(range(len(queue)), key=distances.__getitem__, default=-1)
        if nearest >= 0 and distances[nearest] <= self.max_interval_ns:
            # nothing nearer follows on a topic that has passed the stamp, or that is regular
            if newest >= stamp or 2 * distances[nearest] <= self._gap[topic]:
                return nearest
            return None
        return -1 if newest >= stamp + self.max_interval_ns else None
