"""What promotion needs of this machine: the signing key, the commit, and a run of the notebook."""

import hashlib
import secrets
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from pipelines.errors import PromotionRefused
from pipelines.gates.policy import default_policy
from pipelines.promote import Origin, PromotedBundle, promote
from pipelines.runs.notebooks import RunProgress, run_notebook
from pipelines.runs.warm import WarmKernels
from pipelines.workspace import Workspace
from runtime.bundles.signing import Signer, create_key, load_signer
from runtime.clock import WallClock
from service.databases import open_runtime
from service.records import open_registry
from service.settings import Settings

LOCK_FILE = "requirements/research.txt"
UNKNOWN = "unknown"
SIGNER = "desk"


def promote_candidate(
    settings: Settings,
    workspace: Workspace,
    study: str,
    *,
    by: str,
    progress: Callable[[RunProgress], None] = lambda _: None,
    warm: WarmKernels | None = None,
) -> PromotedBundle:
    """Promote a study's candidate with this workspace's key, registry and bundles.

    `warm` forks the notebook's kernel; without it the kernel starts cold.

    Raises:
        PromotionRefused: the gates say no, or the notebook fails with the candidate's parameters.
    """

    def execute(notebook: str, parameters: Mapping[str, object]) -> Path:
        record = run_notebook(
            Path(notebook),
            parameters,
            workspace,
            clock=WallClock(),
            on_progress=progress,
            warm=warm,
        )
        if not record.complete or record.executed is None:
            raise PromotionRefused(
                f"{notebook} failed with the candidate's parameters ({record.closed.cause}: "
                f"{record.closed.message}); its log is {record.log}"
            )
        return Path(record.executed)

    return promote(
        study,
        workspace,
        policy=default_policy(),
        registry=open_registry(settings, open_runtime(settings)),
        signer=signing_key(settings),
        origin=origin(Path(__file__).resolve().parents[2]),
        execute=execute,
        clock=WallClock(),
        by=by,
    )


def signing_key(settings: Settings) -> Signer:
    """Return the workspace's signing key, made on first use and readable by its owner alone."""
    path = settings.workspace / "keys" / "signing.key"
    if not path.exists():
        return create_key(path.parent, SIGNER, secrets.token_bytes(32))
    return load_signer(path)


def origin(repository: Path) -> Origin:
    """Return commit and lock file of the code at work; "unknown" outside a checkout."""
    lock = repository / LOCK_FILE
    return Origin(
        git_commit=_commit(repository),
        lock_hash=hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else UNKNOWN,
    )


def _commit(repository: Path) -> str:
    """Return the commit, and what differs from it: tracked files are all a bundle is made with."""
    commit = _git(repository, "rev-parse", "HEAD")
    if commit is None:
        return UNKNOWN
    changed = _git(repository, "diff", "HEAD")
    if not changed:
        return commit
    return f"{commit}-changed-{hashlib.sha256(changed.encode()).hexdigest()[:12]}"


def _git(repository: Path, *words: str) -> str | None:
    """Return what git answers, None if there is no checkout or no git."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(repository), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
