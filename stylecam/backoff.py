"""How long to wait before a connection is tried again."""

from __future__ import annotations

FIRST_S = 0.5
LONGEST_S = 8.0


class Backoff:
    """Waits that double from `first_s` to `longest_s` seconds, so that a dead peer is left in peace."""

    def __init__(self, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def next_s(self) -> float:
        """Return the seconds to wait now; the next wait will be twice as long."""
        wait_s, self._next_s = self._next_s, min(2 * self._next_s, self._longest_s)
        return wait_s

    def reset(self) -> None:
        """Begin again with the shortest wait."""
        self._next_s = self._first_s
