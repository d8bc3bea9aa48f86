"""Renders the chart by Helm's own engine; run by the Python of `.venv-helm`.

Reads a list of values from stdin. Writes, for each, the documents with what the schemas of
Kubernetes say of them, or the sentence with which rendering ended.
"""

import json
import sys
from typing import Any

import kubernetes_validate
import yaml
from helm_python import Chart, HelmRenderError


def rendered(chart: str, values: dict[str, Any]) -> dict[str, Any]:
    try:
        files = Chart.load(chart).render(values, name="live", namespace="desk")
    except HelmRenderError as error:
        return {"refused": str(error), "documents": [], "invalid": []}
    documents = [one for text in files.values() for one in yaml.safe_load_all(text) if one]
    invalid = []
    for document in documents:
        for release in ("1.29", "1.34"):
            try:
                kubernetes_validate.validate(document, release, strict=True)
            except kubernetes_validate.ValidationError as error:
                invalid.append(f"{document['kind']} for {release}: {error}")
    return {"refused": "", "documents": documents, "invalid": invalid}


json.dump([rendered(sys.argv[1], values) for values in json.load(sys.stdin)], sys.stdout)
