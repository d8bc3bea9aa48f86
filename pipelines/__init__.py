"""Research to promotion: studies, runs, ledger, sweeps, gates, bundles."""

import runtime as _before_onnxruntime  # noqa: F401  (it keeps that library from reporting)
