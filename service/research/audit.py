"""`sluice features audit NOTEBOOK`: decisions and features rebuilt without the future."""

import os
from collections.abc import Sequence

from featurestore.audit import AuditReport
from pipelines.audit import audit_notebook
from pipelines.workspace import open_workspace
from service.settings import Settings

VARIABLE = "SLUICE_WORKSPACE"


def audit_notebooks(
    settings: Settings, notebooks: Sequence[str], *, samples: int, seed: int
) -> list[AuditReport]:
    """Audit each notebook in the workspace; nothing is recorded, no return is computed."""
    workspace = open_workspace(settings.workspace, environ=os.environ)
    before = os.environ.get(VARIABLE)
    # Notebooks open the workspace their kernel stands in; here that is the one that was named.
    os.environ[VARIABLE] = str(settings.workspace)
    try:
        return [
            report
            for notebook in notebooks
            for report in audit_notebook(notebook, workspace, samples=samples, seed=seed)
        ]
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
