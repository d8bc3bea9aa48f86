"""Splits and dividends out of the lake, for the books; read in blocks, a tick asks each time."""

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from featurestore.series import OwnTimes
from runtime.chain import micros
from runtime.journal.actions import CalledOff, Dividend, Split, Unclear
from runtime.journal.announced import announced, called_off


class LakeActions:
    """Splits and dividends out of one view of the lake."""

    def __init__(self, table: OwnTimes) -> None:
        """Take a view's observations; they do not change."""
        self._table = table
        pairs = [(name, table.series[row]) for name, row in table.rows.items()]
        sizes = [one.events.size for _, one in pairs]
        self._names = np.repeat(np.array([name for name, _ in pairs], dtype=object), sizes)
        empty = [np.empty(0, dtype=np.int64)]
        self._events = np.concatenate(empty + [one.events for _, one in pairs])
        self._learned = np.concatenate(empty + [one.known for _, one in pairs])

    def __call__(
        self, since: Mapping[str, datetime], *, after: datetime, until: datetime, at: datetime
    ) -> list[Split | Dividend | Unclear | CalledOff]:
        """Return what took effect, in order, and what was called off."""
        news = np.maximum(self._events, self._learned) > micros(after)
        inside = (self._events <= micros(until)) & (self._learned <= micros(at)) & news
        names = since.keys() & set(self._names[inside].tolist())
        if not names:
            return []
        first = min(since[name] for name in names)
        found = [
            *announced(self._table, names, at=micros(at), first=first, last=until),
            *called_off(self._table, names, at=micros(at), first=first, last=until),
        ]
        return [one for one in found if one.effective > since[one.symbol]]
