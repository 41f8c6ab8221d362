"""Keys in use: a few at a time, each retired after so many operations, so that every key's history stays checkable."""

from __future__ import annotations

from random import Random


class KeyRing:
    """Hands out keys `<prefix>0`, `<prefix>1`, ...: `active` of them in turn by chance, each for `uses` operations."""

    def __init__(self, prefix: str, active: int, uses: int, draw: Random) -> None:
        self._prefix = prefix
        self._uses = uses
        self._draw = draw
        self._made = 0
        # Keys start with unequal remaining uses: otherwise all of them would be retired in the same moment.
        self._left = {self._new_key(): uses * (place + 1) // active for place in range(active)}

    def _new_key(self) -> str:
        key = f"{self._prefix}{self._made}"
        self._made += 1
        return key

    def next_key(self) -> str:
        key = self._draw.choice(list(self._left))
        self._left[key] -= 1
        if self._left[key] == 0:
            del self._left[key]
            self._left[self._new_key()] = self._uses
        return key

    def all_keys(self) -> list[str]:
        """Every key that was ever handed out or may have been, oldest first."""
        return [f"{self._prefix}{number}" for number in range(self._made)]
