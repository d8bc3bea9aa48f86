"""How a bench asks a peer that lives in an environment of its own: one job, process and answer."""

import json
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIMIT = 900  # seconds


def ask_feast(job: dict[str, Any], script: str = "feast_child.py") -> dict[str, Any]:
    """Have Feast do a job in .venv-feast; what a job holds, the script says.

    Raises:
        RuntimeError: the environment is not there, or Feast failed; with its last words.
    """
    python = HERE.parents[1] / ".venv-feast" / "bin" / "python"
    if not python.exists():
        raise RuntimeError(f"{python} is missing; `just bench` makes it")
    command = [python, "-P", HERE / script, json.dumps(job)]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT, check=False, cwd=job["folder"]
    )
    if ended.returncode:
        raise RuntimeError(f"Feast failed: {ended.stderr.strip()[-800:]}")
    answer: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return answer
