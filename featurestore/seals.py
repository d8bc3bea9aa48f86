"""Seals: from which instant on research may not read, and who may look behind it."""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from featurestore.errors import ContractBroken, LakeUnavailable
from featurestore.lake import Lake
from featurestore.times import micros

SEALS_TABLE = "_seals"
_SCHEMA = {"name": pl.String(), "sealed_from": pl.Datetime("us", "UTC")}
_ATTEMPTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Leave to look behind the seals: promotion that has spent a holdout, or the runtime.

    Research code is never handed one.
    """

    by: str
    purpose: str


def seals(lake: Lake) -> dict[str, datetime]:
    """Return every seal of a lake: name -> UTC instant from which on it holds."""
    version = lake.version(SEALS_TABLE)
    if version is None:
        return {}
    rows = lake.read(SEALS_TABLE, version=version).sort("name", "sealed_from")
    return dict(rows.unique("name", keep="first", maintain_order=True).iter_rows())


def add_seal(lake: Lake, name: str, sealed_from: datetime) -> None:
    """Seal the lake from an instant on; the same seal again changes nothing.

    Raises:
        ContractBroken: the name holds an earlier seal, which never moves to a later instant.
    """
    micros(sealed_from)
    for attempt in range(_ATTEMPTS):
        version = lake.version(SEALS_TABLE)
        held = seals(lake).get(name)
        if held is not None and sealed_from > held:
            raise ContractBroken(
                f"{name} is sealed from {held.isoformat()}; a seal never moves to a later date "
                f"({sealed_from.isoformat()}), declare a new study instead"
            )
        if held == sealed_from:
            return
        row = pl.DataFrame({"name": [name], "sealed_from": [sealed_from]}, schema=_SCHEMA)
        try:
            lake.append(SEALS_TABLE, row, after=version)
        except LakeUnavailable:  # another study was sealed meanwhile: look again
            if attempt == _ATTEMPTS - 1:
                raise


def seal_for(lake: Lake, study: str | None, wanted: datetime | None) -> datetime | None:
    """Return the instant from which on a reader is sealed; None = nothing is.

    A study reads up to its own seal. A reader of no study, or of one that never sealed anything,
    stops at the earliest seal of the lake. `wanted` may be earlier, never later.
    """
    held = seals(lake)
    binding = [held[study]] if study in held else [*held.values()]
    every = [*binding, *([] if wanted is None else [wanted])]
    return min(every) if every else None
