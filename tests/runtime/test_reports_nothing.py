"""onnxruntime's own builds report which models they load; here they do not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import os, {module}
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state
print(len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the threads")
@pytest.mark.parametrize("module", ["runtime.bundles.inference", "runtime", "pipelines"])
def test_no_thread_database_or_device_id_of_a_reporting_onnxruntime(module, tmp_path):
    silent = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(module=module)],
        cwd=ROOT,
        env=kept | silent | {"HOME": str(tmp_path)},  # without the names of CI, which also silence
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.strip() == "1"
    assert not list(tmp_path.rglob("*"))
