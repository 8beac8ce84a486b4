"""The newest messages of a room in memory, encoded: for who joins, who comes back, and who looks up a little.

A room that a thousand clients come back to is read from the database once. What is kept is bounded twice: so many
messages of a room, and so many bytes of all rooms; the room that was looked at least recently gives way first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence

import msgspec

from services.chat.wire import EVERYTHING, Entry, array

MOST_ENTRIES = 256
"""Messages of one room."""
ANSWERS = 2
"""Different answers that are kept between two events of a room: everybody asks for the same page."""
ENTRY_BYTES = 200
"""What an entry takes beside its text."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A page of messages.

    Args:
        messages: the JSON array.
        whole: whether nothing was left out that was asked for.
    """

    messages: msgspec.Raw
    whole: bool


class Budget:
    """Bounds what all rooms keep.

    Args:
        most_bytes: of all rooms together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._used: OrderedDict[Recent, int] = OrderedDict()
        self.total = 0

    def grow(self, recent: Recent, size: int) -> None:
        """Count what a room keeps more, and let others give way."""
        self._used[recent] = self._used.get(recent, 0) + size
        self._used.move_to_end(recent)
        self.total += size
        while self.total > self._most and len(self._used) > 1:
            next(iter(self._used)).forget()

    def shrink(self) -> int:
        """Let those that were looked at least recently give way, until half is left; returns how many bytes that is."""
        before = self.total
        while self.total > before // 2:
            next(iter(self._used)).forget()
        return before - self.total

    def look(self, recent: Recent) -> None:
        """Note that a room was of use."""
        if recent in self._used:
            self._used.move_to_end(recent)

    def leave(self, recent: Recent) -> None:
        """Count a room out."""
        self.total -= self._used.pop(recent, 0)


class Recent:
    """The newest state of every message of a room that changed after `floor`.

    Args:
        budget: what all rooms share.
        last: the number of the room's last event; the next one is added.

    Attributes:
        floor: the number up to which nothing is known here.
        last: the number of the last event.
    """

    __slots__ = ("__weakref__", "_answers", "_budget", "_entries", "floor", "last")

    def __init__(self, budget: Budget, last: int) -> None:
        self.floor = self.last = last
        self._budget = budget
        self._entries: deque[Entry] = deque()  # in the order of `rev`; older states of a message are passed over
        self._answers: dict[tuple[int | None, int | None, int], Answer | None] = {}

    def __len__(self) -> int:
        """Return how many entries there are."""
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        """Take the room's next event."""
        self.last = entry.rev
        self._entries.append(entry)
        self._answers.clear()
        self._budget.grow(self, len(entry.message) + ENTRY_BYTES)
        self._shorten()

    def fill(self, older: Sequence[Entry], floor: int, upto: int) -> None:
        """Take what the database has of the time before.

        Args:
            older: every message whose last change is after `floor` and up to `upto`, in the order of the changes.
            floor: as said.
            upto: what `floor` of this was when the database was asked.
        """
        if self.floor == upto:
            self.floor = floor
            self._entries.extendleft(reversed(older))
            self._answers.clear()
            self._budget.grow(self, sum(len(entry.message) + ENTRY_BYTES for entry in older))
            self._shorten()

    def forget(self) -> None:
        """Keep nothing; the next event is kept again."""
        self.floor = self.last
        self._entries.clear()
        self._answers.clear()
        self._budget.leave(self)

    def close(self) -> None:
        """Leave the budget to others."""
        self.forget()

    def snapshot(self, after: int | None, limit: int) -> Answer | None:
        """Answer a join from memory; None when that does not reach back far enough.

        Args:
            after: the last event that the client has; None when it has none.
            limit: messages that it wants at the most.
        """
        return self._answer((after, None, limit))

    def page(self, before: int, limit: int) -> Answer | None:
        """Answer a look into the history from memory; None when that does not reach back far enough."""
        return self._answer((None, before, limit))

    def since(self, after: int) -> list[Entry] | None:
        """Return what changed after an event, in the order of the changes; None when memory does not reach so far."""
        if after < self.floor:
            return None
        states = []
        for entry in self._states():
            if entry.rev <= after:
                break
            states.append(entry)
        states.reverse()
        return states

    def _answer(self, question: tuple[int | None, int | None, int]) -> Answer | None:
        self._budget.look(self)
        try:
            return self._answers[question]
        except KeyError:
            after, before, limit = question
            answer = self._page(before, limit) if before is not None else self._snapshot(after, limit)
            if len(self._answers) < ANSWERS:
                self._answers[question] = answer
            return answer

    def _snapshot(self, after: int | None, limit: int) -> Answer | None:
        page = self._page(EVERYTHING, limit)
        if after is None or after > self.last:
            return page if after is None or page is None else Answer(page.messages, whole=False)
        changed = self.since(after)
        if changed is not None and len(changed) <= limit:
            return Answer(array(changed), whole=True)
        if changed is None and len(self._entries) <= limit:
            return None  # what changed may be few enough, but it is not all here
        return None if page is None else Answer(page.messages, whole=False)

    def _page(self, before: int, limit: int) -> Answer | None:
        # A message that is older than `floor` is here only where it was changed since: it has no neighbours.
        states = [entry for entry in self._states() if self.floor < entry.seq < before]
        states.sort(key=_by_seq)
        if self.floor and (len(states) < limit or before <= self.floor):
            return None
        more = len(states) > limit or self.floor > 0
        return Answer(array(states[len(states) - limit :] if limit < len(states) else states), whole=not more)

    def _states(self) -> Iterator[Entry]:
        """Yield the newest state of each message, the last changed first."""
        seen: set[int] = set()
        for entry in reversed(self._entries):
            if entry.seq not in seen:
                seen.add(entry.seq)
                yield entry

    def _shorten(self) -> None:
        freed = 0
        while len(self._entries) > MOST_ENTRIES:
            oldest = self._entries.popleft()
            self.floor = oldest.rev
            freed += len(oldest.message) + ENTRY_BYTES
        if freed:
            self._budget.grow(self, -freed)


def _by_seq(entry: Entry) -> int:
    return entry.seq
