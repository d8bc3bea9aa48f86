"""Typed decoding when several threads meet a kind for the first time at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from runtime.decoding import from_json, from_msgpack, from_plain

ROOT = Path(__file__).resolve().parents[2]
KINDS = 600
AT_ONCE = f"""
import gc, sys, threading, types
from runtime.decoding import from_json, from_msgpack, from_plain

DECLARED = '''
from __future__ import annotations
from dataclasses import dataclass
import msgspec

@dataclass(frozen=True)
class Leaf:
    number: int
    words: tuple[str, ...]

@dataclass(frozen=True)
class Branch:
    leaf: Leaf
    leaves: dict[str, Leaf]

class Tree(msgspec.Struct):
    branch: Branch
    branches: tuple[Branch, ...]
'''
JSON = b'{{"branch": {{"leaf": {{"number": 1, "words": ["a"]}}, "leaves": {{}}}}, "branches": []}}'
sys.setswitchinterval(1e-6)
gc.set_threshold(20)
wrong = []
for number in range({KINDS}):
    module = types.ModuleType(f"declared_{{number}}")
    sys.modules[module.__name__] = module
    exec(DECLARED, module.__dict__)
    together = threading.Barrier(4)

    def meet(kind=module.Tree):
        together.wait()
        if from_json(JSON, kind).branch.leaf.number != 1:
            wrong.append(kind)

    threads = [threading.Thread(target=meet) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(len(wrong))
"""


class Limit(msgspec.Struct, forbid_unknown_fields=True):
    """A kind."""

    most: float


def test_threads_that_meet_a_kind_at_once_all_read_it() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", AT_ONCE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, "0"), ended.stderr


def test_every_format_reads_the_same_kind() -> None:
    limit = Limit(most=0.5)
    assert from_json(msgspec.json.encode(limit), Limit) == limit
    assert from_msgpack(msgspec.msgpack.encode(limit), Limit) == limit
    assert from_plain({"most": 0.5}, Limit) == limit
    assert from_plain({"most": "0.5"}, Limit, strict=False) == limit


@pytest.mark.parametrize("content", [{"most": "0.5"}, {"most": 1, "least": 0}, {}])
def test_what_is_not_of_the_kind_is_refused_in_every_format(content: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        from_plain(content, Limit)
    with pytest.raises(msgspec.ValidationError):
        from_json(msgspec.json.encode(content), Limit)
    with pytest.raises(msgspec.ValidationError):
        from_msgpack(msgspec.msgpack.encode(content), Limit)
