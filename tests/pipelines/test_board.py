"""The board of studies: its pictures speak for the ledger, and the app runs without a browser."""

import importlib.util
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from featurestore.snapshots import Snapshot
from pipelines import board
from pipelines.errors import EvidenceMissing
from pipelines.gates.blocklength import shared_block
from pipelines.gates.policy import default_policy
from pipelines.gates.spa import superior_ability
from pipelines.grid import submit_crossovers, window_pairs
from pipelines.ledger import TrialClosed, TrialOpened
from pipelines.pictures import Picture
from pipelines.workspace import Workspace
from runtime.clock import ReplayClock
from tests.fakes.studies import small_study

ROOT = Path(__file__).resolve().parents[2]
BOARD = ROOT / "notebooks" / "boards" / "studies.py"


@pytest.fixture(scope="module")
def place(tmp_path_factory, market_lake):
    workspace = Workspace(
        tmp_path_factory.mktemp("board"),
        lake_url=market_lake.fresh_url(),
        snapshot=market_lake.snapshot,
        clock=ReplayClock(datetime(2024, 5, 1, tzinfo=UTC)),
    )
    windows = tuple(range(2, 30, 3))
    study = small_study(name="crossing", search_space={"fast": windows, "slow": windows})
    submit_crossovers(study, window_pairs(windows), workspace=workspace)
    ledger = workspace.ledger()
    failed = TrialOpened(
        study="crossing", parameters={"fast": 2, "slow": 3}, code_hash="0", snapshot_hash="0"
    )
    ledger.close_trial(ledger.open_trial(failed), TrialClosed(status="failed", reason="no data"))
    workspace.save()
    return workspace


def test_every_trial_counts_in_the_overview_failed_ones_too(place):
    table = board.studies_table(place.ledger())
    assert table.rows == [("crossing", "46", "45 complete, 1 failed", "not judged")]
    listed = board.trials_table(place.ledger(), "crossing", count=46)
    ratios = [float(row[3]) for row in listed.rows if row[3]]
    assert ratios == sorted(ratios, reverse=True)
    assert listed.rows[-1][2] == "failed"


def test_the_hurdle_is_that_of_all_trials_and_the_best_is_the_best(place):
    evidence = place.ledger().evidence("crossing")
    words = board.sharpe_distribution(evidence).words
    yearly = evidence.excess.mean(axis=0) / evidence.excess.std(axis=0, ddof=1) * np.sqrt(252)
    assert f"The best of {evidence.trials} trials" in words
    assert f"ratio of {yearly.max():.2f}" in words


def test_each_picture_says_what_it_shows(place):
    evidence = place.ledger().evidence("crossing")
    for picture in (board.overfitting(evidence), board.equity_fan(evidence)):
        assert isinstance(picture, Picture)
        assert picture.words.endswith(".")


def test_the_board_shows_the_p_values_that_the_gate_judges(place):
    evidence, policy = place.ledger().evidence("crossing"), default_policy().spa
    shown = {row[0]: tuple(map(float, row[1:])) for row in board.superiority_table(evidence).rows}
    block = shared_block(evidence.excess)
    assert block < len(evidence.dates) ** 0.5  # another length would show other figures
    judged = superior_ability(
        evidence.excess, mean_block=block, draws=policy.draws, seed=policy.seed
    )
    for name, form in (("studentised", judged.studentised), ("raw", judged.raw)):
        expected = (form.p_lower, form.p_consistent, form.p_upper)
        assert shown[name] == pytest.approx(expected, abs=5e-5)
        assert 0.0 < shown[name][0] <= shown[name][1] <= shown[name][2] <= 1.0


def test_one_trial_has_no_overfitting_to_show(tmp_path, market_lake):
    place = Workspace(tmp_path, lake_url=market_lake.fresh_url(), snapshot=market_lake.snapshot)
    study = small_study(name="lonely", search_space={"fast": (2,), "slow": (5,)})
    submit_crossovers(study, [(2, 5)], workspace=place)
    evidence = place.ledger().evidence("lonely")
    with pytest.raises(EvidenceMissing, match="two complete trials"):
        board.overfitting(evidence)
    assert "The best of 1 trials" in board.sharpe_distribution(evidence).words


def test_a_study_without_a_trial_has_a_page_that_says_so(tmp_path):
    empty = Workspace(tmp_path / "empty", snapshot=Snapshot(versions={}, hash="0"))
    empty.path.mkdir()
    empty.ledger().declare_study({"name": "bare", "question": "Anything?"})
    empty.save()
    spec = importlib.util.spec_from_file_location("board_of_studies", BOARD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    outputs, _ = module.app.run(defs={"workspace_path": str(empty.path), "study_name": "bare"})
    page = "".join(getattr(one, "text", "") for one in outputs)
    assert "Nothing to draw yet: study bare has no trial yet" in page


def test_the_app_runs_headless_with_given_parameters_and_names_no_host(place, tmp_path):
    program = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('board', {str(BOARD)!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "outputs, defs = module.app.run(\n"
        f"    defs={{'workspace_path': {str(place.path)!r}, 'study_name': 'crossing'}})\n"
        "print(defs['picker'].value, defs['ratios'].words)\n"
        "print(defs['logits'].words, defs['equity'].words)\n"
        f"open({str(tmp_path / 'shown.html')!r}, 'w').write(\n"
        "    ''.join(getattr(one, 'text', '') for one in outputs))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.startswith("crossing The best of 46 trials")
    page = (tmp_path / "shown.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page)
