"""The compact engine: bundle contract, inference, guardrails, routing, journal."""

import os

# Since 1.29 onnxruntime's own Linux builds keep a database under ~/.cache and upload names and
# hashes of the models they load, unless this is set before the first import. Decision 73.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
