"""`sluice studies` shows N as a range and whose kernels looked without recording a trial."""

from service.commands.options import settings_of
from service.console import Output
from service.research.studies import list_studies
from tests.fakes.ledgers import TRIED, complete, honest_scene, nameless, opened


def test_the_list_says_between_what_and_what_n_lies_and_who_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "workspace.json").write_text("{}")
    ledger = honest_scene(tmp_path).open()
    ledger.reads.take(nameless(by="bob", run=None, notebook="aside.ipynb"))
    ledger.close_trial(ledger.open_trial(opened(20)), complete(20))
    list_studies(settings_of(tmp_path), Output(as_json=False))
    said = capsys.readouterr().out
    assert f"{TRIED + 1} to {TRIED + 2} charged" in said
    assert "read, no trial: 2026-01-05 00:00 bob, aside.ipynb" in said
