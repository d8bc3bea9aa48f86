"""Feast, asked by a bench: runs in .venv-feast, takes one job as JSON, answers with one JSON line.

    python feast_child.py '{"folder": ..., "rows": ..., "spine": ..., "fields": [...], ...}'

It imports nothing of ours. Versions of observations are handed over as the frontier, because
Feast's as-of join looks at one time only: here the time at which a row was known.
"""

import hashlib
import json
import sys
from datetime import timedelta
from pathlib import Path
from time import process_time
from typing import Any

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64


def opened(job: dict[str, Any]) -> FeatureStore:
    """Declare one view over a Parquet file and return the store.

    Args:
        job: folder to work in; rows, a Parquet file of entity, known_at and the fields; fields;
            optional offline and online, Feast's settings of the two stores.
    """
    folder = Path(job["folder"])
    store = FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry=str(folder / "registry.db"),
            offline_store=job.get("offline", {"type": "duckdb"}),
            online_store=job.get(
                "online", {"type": "sqlite", "path": str(folder / "online.sqlite")}
            ),
            entity_key_serialization_version=3,
        )
    )
    symbol = Entity(name="symbol", join_keys=["entity"], value_type=ValueType.STRING)
    source = FileSource(name="rows", path=job["rows"], timestamp_field="known_at")
    view = FeatureView(
        name="wide",
        entities=[symbol],
        ttl=timedelta(0),  # a value stands until the next one is known
        schema=[Field(name=name, dtype=Float64) for name in job["fields"]],
        source=source,
    )
    store.apply([symbol, view])
    return store


def historical(store: FeatureStore, job: dict[str, Any]) -> dict[str, Any]:
    """Ask for the features of a spine; CPU seconds, memory taken and a checksum of the answer.

    Args:
        store: from `opened`.
        job: spine, a Parquet file of entity, at and n, the row's number; fields; rounds.
    """
    spine = pd.read_parquet(job["spine"]).rename(columns={"at": "event_timestamp"})
    features = [f"wide:{name}" for name in job["fields"]]
    before = resident_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    seconds = []
    for _ in range(job["rounds"]):
        start = process_time()
        answer = store.get_historical_features(entity_df=spine, features=features).to_df()
        seconds.append(process_time() - start)
    ordered = answer.sort_values("n")[job["fields"]].to_numpy(dtype="float64")
    return {
        "seconds": seconds,
        "megabytes": resident_mb("VmHWM") - before,
        "rows": len(answer),
        "checksum": hashlib.sha256(ordered.tobytes()).hexdigest(),
    }


def resident_mb(name: str) -> float:
    """Return VmRSS, what is resident, or VmHWM, its peak, in MB."""
    text = Path("/proc/self/status").read_text("utf-8")
    return int(text.split(f"{name}:")[1].split()[0]) / 1024


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(historical(opened(asked), asked)))
