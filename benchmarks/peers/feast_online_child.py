"""Feast's online store, asked by a bench: runs in .venv-feast, answers with one JSON line.

    python feast_online_child.py '{"folder": ..., "rows": ..., "fields": [...], "online": {...},
                                   "asks": [[...], ...], "calls": 200}'

It imports nothing of ours; the view is declared as the other child declares it.
"""

import json
import runpy
import sys
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import pandas as pd

opened = runpy.run_path(str(Path(__file__).with_name("feast_child.py")))["opened"]


def online(job: dict[str, Any]) -> dict[str, Any]:
    """Write every row online, then read; seconds of each call and what the first one answered.

    Args:
        job: as for `opened`; asks, lists of entities, taken in turn; calls.
    """
    store = opened(job)
    store.write_to_online_store("wide", df=pd.read_parquet(job["rows"]))
    features = [f"wide:{name}" for name in job["fields"]]

    def ask(names: list[str]) -> dict[str, Any]:
        rows = [{"entity": name} for name in names]
        return dict(store.get_online_features(features=features, entity_rows=rows).to_dict())

    first = ask(job["asks"][0])
    seconds, before = [], process_time()
    for number in range(job["calls"]):
        names = job["asks"][number % len(job["asks"])]
        start = perf_counter()
        ask(names)
        seconds.append(perf_counter() - start)
    spent = (process_time() - before) / job["calls"]
    values = [[first[name][i] for name in job["fields"]] for i in range(len(job["asks"][0]))]
    return {"seconds": seconds, "cpu": spent, "values": values}


if __name__ == "__main__":
    print(json.dumps(online(json.loads(sys.argv[1]))))
