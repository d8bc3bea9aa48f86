"""Which events a book holds: a set whose copies share what they have in common."""

Key = tuple[str, str]


class Seen:
    """A set that only grows; a copy costs what was added since the last one, not its size.

    Sets that copies share are never changed. They are merged as they grow alike, so that there are
    few of them: as many as the logarithm of all that was added.
    """

    __slots__ = ("_own", "_shared")

    def __init__(self) -> None:
        """Start empty."""
        self._own: set[Key] = set()
        self._shared: tuple[set[Key], ...] = ()  # larger ones first

    def __contains__(self, key: Key) -> bool:
        """Say whether a key was added."""
        if key in self._own or not self._shared:
            return key in self._own
        return any(key in shared for shared in self._shared)

    def add(self, key: Key) -> None:
        """Add a key."""
        self._own.add(key)

    def update(self, other: "Seen") -> None:
        """Add every key of another set."""
        self._own.update(other._own, *other._shared)

    def copy(self) -> "Seen":
        """Return a set that goes its own way from here."""
        if self._own:
            shared = [*self._shared, self._own]
            while len(shared) > 1 and len(shared[-2]) <= 2 * len(shared[-1]):
                last = shared.pop()
                shared[-1] = shared[-1] | last
            self._shared, self._own = tuple(shared), set()
        other = Seen()
        other._shared = self._shared
        return other
