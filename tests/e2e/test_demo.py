"""The demo as a new user runs it: twice, in two folders, to the same bundle and the same books."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from pipelines.ledger import TrialClosed, TrialOpened, open_ledger
from runtime.bundles.bundle import CONTENT, MANIFEST, SIGNATURE, load_bundle
from runtime.bundles.signing import load_trusted
from runtime.clock import WallClock
from runtime.database import open_database
from runtime.errors import BundleRefused
from runtime.journal.store import Journal
from service.books.accounts import replay_account
from service.research.demo import _fresh_workspace, _heads
from service.settings import read_settings
from tests.fakes.commands import inside
from tests.golden.replay import SHORTEST, baseline, fingerprint

SLUICE = Path(sys.executable).with_name("sluice")


@dataclass(frozen=True)
class Demo:
    folder: Path
    figures: dict[str, Any]
    printed: str

    def journal(self) -> Journal:
        account = replay_account(self.figures["bundles"][0]["hash"])
        return Journal(open_database(f"sqlite:///{self.folder / 'runtime.db'}"), account)


def _sluice(
    *words: str, workspace: Path, cwd: Path | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SLUICE, *words, "--workspace", str(workspace)],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=cwd,
        env=os.environ | {"COLUMNS": "100"} | environ,
        check=False,
    )


def _inside(*words: str, workspace: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return inside(*words, "--workspace", workspace, **environ)


def _run(folder: Path, **elsewhere: Any) -> Demo:
    report = folder.with_suffix(".json")
    words = ("demo", "--no-serve", "--json", str(report))
    ended = _sluice(*words, workspace=folder, **elsewhere)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return Demo(folder=folder, figures=json.loads(report.read_text()), printed=ended.stdout)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return _run(tmp_path_factory.mktemp("first") / "demo")


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Run once more: other folder, working directory, time zone and hash seed."""
    folder = tmp_path_factory.mktemp("second") / "demo"
    return _run(folder, cwd=Path("/"), TZ="Asia/Tokyo", PYTHONHASHSEED="7", LANG="C")


def test_both_studies_are_judged_over_every_configuration(demo: Demo) -> None:
    studies = {one["name"]: one for one in demo.figures["studies"]}
    assert {name: one["trials"] for name, one in studies.items()} == {
        "momentum": 72,
        "reversal": 20,
    }
    for one in studies.values():
        assert one["lookahead"] is True
        assert one["parity"] is True
        assert 0 < one["spa_p"] <= 1
        assert (one["verdict"] == "refused") == (one["spa_p"] > 0.05)


def test_what_passed_is_replayed_over_the_sealed_years_and_balances(demo: Demo) -> None:
    passed = {s["name"] for s in demo.figures["studies"] if s["verdict"] != "refused"}
    assert {bundle["study"] for bundle in demo.figures["bundles"]} == passed == {"momentum"}
    replay = demo.figures["replay"]
    assert (replay["sessions"], replay["decisions"], replay["breaks"]) == (1508, 71, 0)
    assert 0 < replay["fills"] <= replay["orders"]
    demo.journal().verify()


def test_a_realistic_backtest_foretells_what_the_replay_s_trades_cost(demo: Demo) -> None:
    (bundle,) = demo.figures["bundles"]
    ended = _inside("gap", bundle["hash"], "--json", workspace=demo.folder)
    assert ended.returncode == 0, ended.stderr
    gap = json.loads(ended.stdout)
    assert gap["holds"]
    assert gap["within"] >= 0.8 > gap["within_flat"]
    assert gap["trades"] > 250
    assert (gap["latency"], gap["other_terms"]) == ("range", [])
    assert gap["seen_bp"] == pytest.approx(gap["foretold_bp"], rel=0.1)
    measured = _inside("latency", "--account", gap["account"], workspace=demo.folder)
    assert measured.returncode == 1
    assert "its clock stood still" in " ".join(measured.stderr.split())


def test_the_replay_trades_what_the_baseline_says_to_the_last_order_and_fill(demo: Demo) -> None:
    # tests/golden/replay.py says how a change is let stand, with its reason.
    stands = baseline()
    assert msgspec.structs.replace(fingerprint(demo.journal()), reason=stands.reason) == stands
    assert len(stands.reason) >= SHORTEST


def test_every_decision_of_the_replay_is_reached_again_from_the_journal_alone(demo: Demo) -> None:
    ended = _inside("redecide", "--evaluations", "2000", "--json", workspace=demo.folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(ended.stdout)
    assert (told["decisions"] + told["refusals"], told["differences"]) == (71, [])
    assert told["whole"] == 71
    assert told["evaluations"] == 2000


def test_the_replay_s_profit_is_explained_to_the_cent(demo: Demo) -> None:
    ended = _inside("attribution", "--json", workspace=demo.folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(ended.stdout)
    last = demo.journal().last_session()
    assert last is not None
    assert Decimal(told["profit"]) == last.equity.quantize(Decimal("0.01")) - 1_000_000
    assert sum(map(Decimal, told["parts"].values())) == Decimal(told["profit"])
    assert Decimal(told["parts"]["corrected"]) == 0


def test_the_holdout_of_a_refused_study_stays_sealed(demo: Demo) -> None:
    ledger = open_ledger(f"sqlite:///{demo.folder / 'research.db'}", clock=WallClock(), anchor=None)
    ledger.verify()
    assert ledger.holdout("reversal") is None
    spent = ledger.holdout("momentum")
    assert spent is not None
    assert spent.trial == ledger.judgements("momentum")[-1].trial


def test_a_second_demo_makes_the_same_bundle_and_the_same_journal(demo: Demo, again: Demo) -> None:
    same = ("studies", "replay", "journal_head")
    assert {name: again.figures[name] for name in same} == {
        name: demo.figures[name] for name in same
    }
    assert [b["hash"] for b in again.figures["bundles"]] == [
        b["hash"] for b in demo.figures["bundles"]
    ]


def test_the_demo_tells_its_story_in_words(demo: Demo) -> None:
    for words in ("momentum staging, reversal refused", "Paper trading", "Journal head", "sealed"):
        assert words in demo.printed


def test_a_folder_that_is_no_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    ended = _inside("demo", "--no-serve", workspace=tmp_path)
    assert ended.returncode == 2
    assert "not a demo's workspace" in ended.stderr
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_demo_does_not_mix_with_databases_elsewhere(tmp_path: Path) -> None:
    elsewhere = {"SLUICE_LEDGER_URL": f"sqlite:///{tmp_path / 'team.db'}"}
    ended = _inside("demo", "--no-serve", workspace=tmp_path / "demo", **elsewhere)
    assert ended.returncode == 2
    assert "unset SLUICE_" in ended.stderr


@pytest.mark.parametrize("name", [*CONTENT, MANIFEST, SIGNATURE])
def test_a_flipped_byte_anywhere_is_refused_by_the_file_s_name(
    demo: Demo, tmp_path: Path, name: str
) -> None:
    original = Path(demo.figures["bundles"][0]["path"])
    copy = tmp_path / original.name
    shutil.copytree(original, copy)
    data = bytearray((copy / name).read_bytes())
    trusted = load_trusted(demo.folder / "keys" / "trusted.json")
    for place in {0, len(data) // 3, len(data) - 1}:
        data[place] ^= 0x20
        (copy / name).write_bytes(data)
        with pytest.raises(BundleRefused, match=name.replace(".", r"\.")):
            load_bundle(copy, trusted)
        data[place] ^= 0x20


def test_verify_says_so_on_the_command_line(demo: Demo, tmp_path: Path) -> None:
    original = Path(demo.figures["bundles"][0]["path"])
    assert _inside("verify", str(original), workspace=demo.folder).returncode == 0
    copy = tmp_path / original.name
    shutil.copytree(original, copy)
    (copy / "card.md").write_text((copy / "card.md").read_text().replace("staging", "Staging", 1))
    ended = _sluice("verify", str(copy), workspace=demo.folder)
    assert ended.returncode == 1
    assert "card.md" in ended.stdout + ended.stderr


def test_the_card_is_what_the_evidence_says_until_the_evidence_grows(
    demo: Demo, tmp_path: Path
) -> None:
    bundle = demo.figures["bundles"][0]["hash"]
    ended = _sluice("card", bundle[:12], "--check", "--json", workspace=demo.folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(ended.stdout)
    assert told["same"]
    assert told["differences"] == []
    memo = _inside("card", bundle[:12], "--memo", workspace=demo.folder).stdout
    assert bundle in memo
    assert "How it is stopped" in memo
    grown = tmp_path / "demo"
    shutil.copytree(demo.folder, grown)
    ledger = open_ledger(
        f"sqlite:///{grown / 'research.db'}", clock=WallClock(), anchor=grown / "ledger.head"
    )
    tried = ledger.trials("momentum")[0]
    another = TrialOpened(
        study="momentum",
        parameters=tried.parameters,
        code_hash="0" * 64,
        snapshot_hash=tried.snapshot_hash,
    )
    ledger.close_trial(
        ledger.open_trial(another), TrialClosed(status="failed", reason="tried once more")
    )
    ended = _inside("card", bundle[:12], "--check", "--json", workspace=grown)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    told = json.loads(ended.stdout)
    assert told["trials_now"] == told["trials"] + 1
    assert any("Trials counted" in line for line in told["differences"])


def test_why_leads_from_an_order_to_the_notebook_cell(demo: Demo) -> None:
    journal = demo.journal()
    order = journal.orders()[0].order
    ended = _inside("why", order.order_id, "--json", workspace=demo.folder)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    text = json.dumps(told)
    for fact in (order.symbol, demo.figures["bundles"][0]["hash"], "momentum.ipynb", "def decide"):
        assert fact in text


def test_a_replay_that_is_finished_changes_nothing(demo: Demo) -> None:
    ended = _inside("replay", "--json", workspace=demo.folder)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["journal_head"] == demo.figures["journal_head"]


def test_promoting_again_signs_the_same_bytes_and_looks_at_nothing_new(demo: Demo) -> None:
    ended = _sluice("promote", "momentum", "--by", "second", "--json", workspace=demo.folder)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["bundle"] == demo.figures["bundles"][0]["hash"]
    assert told["version"] == 2


def test_what_was_done_since_a_demo_is_kept_when_it_runs_again(demo: Demo) -> None:
    settings = read_settings({}, workspace=demo.folder)
    assert (demo.folder / ".demo").read_text() != _heads(settings)  # it was promoted once more
    fresh = _fresh_workspace(settings, Console(quiet=True))
    [aside] = demo.folder.parent.glob("demo-*")
    assert (aside / "research.db").is_file()
    assert [path.name for path in fresh.path.iterdir()] == [".demo"]
    fresh.path.joinpath(".demo").unlink()
    fresh.path.rmdir()
    aside.rename(demo.folder)


def test_a_refused_study_cannot_be_promoted(demo: Demo) -> None:
    ended = _inside("promote", "reversal", workspace=demo.folder)
    assert ended.returncode == 1
    assert "reversal: Refused" in ended.stderr
