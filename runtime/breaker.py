"""A circuit breaker: whoever did not answer is left alone for a while, longer each time."""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Breaker:
    """Says whether something may be asked now; times are seconds of any clock that goes forward.

    Closed at first. A failure opens it for `first` seconds; then one trial is allowed, and each
    further failure doubles the rest up to `most`. One success closes it.
    """

    first: float = 1.0  # seconds
    most: float = 60.0  # seconds
    _rest: float = 0.0  # seconds of the present rest; 0 = closed
    _until: float = 0.0

    def allows(self, now: float) -> bool:
        """Say whether it may be asked."""
        return now >= self._until

    def failed(self, now: float) -> None:
        """Note that it did not answer."""
        self._rest = min(max(self.first, 2 * self._rest), self.most)
        self._until = now + self._rest

    def worked(self) -> None:
        """Note that it answered."""
        self._rest = self._until = 0.0
