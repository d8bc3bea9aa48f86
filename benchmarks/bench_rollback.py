"""A roll-back of the served bundle with requests in flight, beside its limit of one second.

A served workspace on loopback, clients that never pause, and one roll-back after another; each
from sending it to an answer that names the restored bundle. A request that fails ends the bench.
"""

import http.client
import json
import os
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

from runtime.bundles.bundle import load_bundle
from runtime.bundles.signing import load_trusted
from runtime.database import open_database
from runtime.registry import Promoted, Registry
from service.settings import Settings
from tests.fakes.trading import promoted_workspace
from tests.servers import free_port
from tests.service.registry.seats import SHOWN, TOKEN, add_bundle
from tests.service.test_light import served, wait_for

ROUNDS = 7
CLIENTS = 4
PATHS = ("/bundles", "/health", "/registry", "/equity", "/registry/history", "/kill-switch")


def run() -> list[dict[str, object]]:
    """Roll back again and again under load and return the slowest."""
    os.environ["SLUICE_OPERATOR_TOKEN"] = TOKEN
    try:
        with tempfile.TemporaryDirectory() as folder:
            seconds, answered = _measured(promoted_workspace(Path(folder) / "ws"))
    finally:
        del os.environ["SLUICE_OPERATOR_TOKEN"]
    worst = max(seconds)
    return [
        {
            "name": f"roll-back under load, slowest of {ROUNDS}, {answered} requests, none failed",
            "ours": worst,
            "peer": 1.0,
            "peer_name": "limit",
            "ratio": 1.0 / worst,
            "unit": "s",
        }
    ]


def _measured(settings: Settings) -> tuple[list[float], int]:
    port, stop = free_port(), Event()
    answered, failed = [0] * CLIENTS, list[tuple[str, int]]()

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while not stop.is_set():
            path = PATHS[answered[number] % len(PATHS)]
            connection.request("GET", path)
            reply = connection.getresponse()
            reply.read()
            if reply.status != 200:
                failed.append((path, reply.status))
            answered[number] += 1

    seconds = []
    with served(settings.workspace, port):
        while not json.loads(wait_for(port, "/health"))["ready"]:
            time.sleep(0.05)
        clients = [Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
        for one in clients:
            one.start()
        try:
            for number in range(ROUNDS):
                bundle = _activate(settings, number)
                while json.loads(wait_for(port, "/bundles"))["running"] != bundle:
                    time.sleep(0.05)
                seconds.append(_roll_back(port))
        finally:
            stop.set()
            for one in clients:
                one.join()
    if failed:
        raise RuntimeError(f"{len(failed)} requests failed, the first {failed[0]}")
    return seconds, sum(answered)


def _activate(settings: Settings, number: int) -> str:
    """Seat a new bundle and return its hash."""
    version = number + 2
    bundle = add_bundle(settings, trials=100 + number, version=version)
    trusted = load_trusted(settings.trusted_keys)
    signed = load_bundle(settings.bundles / bundle, trusted).signature
    registry = Registry(open_database(settings.database_url))
    last = registry.history()[-1].since
    registry.activate(
        Promoted(study="tilt", bundle=bundle, version=version, stage="staging", promotion=signed),
        by="ada",
        why="bench",
        at=max(datetime.now(UTC), last + timedelta(microseconds=1)),
    )
    return bundle


def _roll_back(port: int) -> float:
    """Return seconds from the request to the answer that names the restored bundle."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    start = time.perf_counter()
    connection.request(
        "POST",
        "/registry/rollback",
        body=json.dumps({"by": "ada", "why": "bench"}),
        headers=SHOWN | {"content-type": "application/json"},
    )
    done = json.loads(connection.getresponse().read())
    seconds = time.perf_counter() - start
    if done["running"] != done["change"]["bundle"]:
        raise RuntimeError(f"rolled back, but {done['running']} runs: {done['refused']}")
    return seconds
