"""The demo itself, from market history to replayed years, beside its limit of sixty seconds."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LIMIT_S = 60.0  # the aim, after dependencies are installed, on 2 cores


def run() -> list[dict[str, Any]]:
    """Run the demo once in a folder of its own; return its wall time beside the limit."""
    with tempfile.TemporaryDirectory(prefix="sluice-demo-") as folder:
        figures = Path(folder) / "figures.json"
        subprocess.run(
            [
                Path(sys.executable).with_name("sluice"),
                *("demo", "--no-serve", "--json", figures),
                *("--workspace", Path(folder) / "workspace"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds = json.loads(figures.read_text())["seconds"]
    return [
        {
            "name": "demo, market history to replayed years",
            "ours": seconds["total"],
            "peer": LIMIT_S,
            "peer_name": "limit",
            "ratio": LIMIT_S / seconds["total"],
            "unit": "s",
        }
    ]
