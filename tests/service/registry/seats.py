"""Bundles to seat, who seats them, and days on which one makes more than another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from runtime.bundles.signing import load_signer
from runtime.database import open_database
from runtime.joint.shadow_log import ShadowBook, ShadowDay, ShadowLog
from runtime.registry import CHALLENGER, Registry
from tests.fakes.graphs import tilt_bundle, tilt_files, tilt_manifest
from tests.fakes.trading import FEATURE, SYMBOLS

TOKEN = "correct horse battery staple"
SHOWN = {"authorization": f"Bearer {TOKEN}"}
FACTS = {"by": "ada", "why": "a reason"}


def add_bundle(settings, study="tilt", trials=73, version=1) -> str:
    """Write another bundle on the champion's universe; nobody has seated it yet."""
    signer = load_signer(settings.workspace / "keys" / "signing.key")
    manifest = msgspec.structs.replace(
        tilt_manifest(SYMBOLS, feature=FEATURE), study=study, trials=trials, decide_cell=0
    )
    cell = {"cell_type": "code", "metadata": {}, "source": "def decide(xp, inputs): ..."}
    files = tilt_files(SYMBOLS) | {"notebook.ipynb": msgspec.json.encode({"cells": [cell]})}
    folder = tilt_bundle(settings.bundles, signer, manifest=manifest, files=files, version=version)
    return folder.name


def facts(by="ada", why="a reason") -> tuple[str, ...]:
    return ("--by", by, "--why", why)


def registry_of(settings) -> Registry:
    return Registry(open_database(settings.database_url))


def shadow_days(settings, challenger: str, edge: float, days: int = 120) -> None:
    """Write a record in which the challenger makes `edge` more on each of many days."""
    registry = registry_of(settings)
    seat = registry.active(CHALLENGER)
    record = ShadowLog(open_database(settings.database_url))
    books = {seat.comparison.against: ShadowBook(), challenger: ShadowBook()}
    for number in range(days):
        day = seat.since.date() + timedelta(days=number + 1)
        noise = 0.002 if number % 2 else -0.002
        returns = {seat.comparison.against: 0.0, challenger: edge + noise}
        record.record(
            ShadowDay(account="live", day=day.isoformat(), books=books, returns=returns),
            (),
            datetime(2030, 1, 1, tzinfo=UTC),
        )
