"""Looks at an untrusted graph for the first time: in a child with little memory and time.

Steps of the child: 1. what it needs is loaded, then limits are set; 2. graph and golden rows
arrive; 3. our own limits on graphs; 4. onnxruntime loads it; 5. the golden rows are decided again.
Whatever happens to the child, this process hears one sentence and goes on. A graph that holds is
remembered by its hash, so a process has it proved once.
"""

import hashlib
import resource
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import msgspec

from runtime.bundles.child import take
from runtime.bundles.golden import read_golden, replay_golden
from runtime.bundles.inference import DecisionSession
from runtime.decoding import from_msgpack
from runtime.errors import BundleRefused

MEMORY = 1024 * 1024 * 1024  # bytes of address space that a graph may ask for, loaded and deciding
SECONDS = 30  # of CPU
PATIENCE = 60.0  # seconds of wall clock, on a machine that has other things to do
REFUSED = 3  # exit status of a child that refuses the graph
UNASKED = 4  # of one that was started ahead, and whose parent ended without a question
_WORDS = 400  # characters of a child's words that are passed on

_LOADED_FIRST = (
    "onnx.shape_inference",
    "polars",
    "runtime.bundles.graphs",
)  # limits count from here
_proved: set[str] = set()


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be proved."""

    graph: bytes  # serialised ONNX
    golden: bytes  # Parquet, as `runtime.bundles.golden.golden_bytes` writes it
    ranks: dict[str, int]  # input -> 1 for (n,), 2 for (n, length)
    symbols: int  # rows of every array
    confident: bool = False  # the manifest declares a confidence
    abstains_below: float | None = None  # confidence under which it promises no weight

    @property
    def name(self) -> str:
        """Return SHA-256 over everything that is asked, hex."""
        return hashlib.sha256(msgspec.msgpack.encode(self, order="deterministic")).hexdigest()


def prove_apart(question: Question) -> None:
    """Prove a graph in a limited child, once per process and graph.

    Raises:
        BundleRefused: what is wrong with it, or how the child ended.
    """
    if question.name in _proved:
        return
    with take() as child:
        import_module("polars")  # while the child starts: `open_graph` needs it here next
        try:
            _, said = child.communicate(msgspec.msgpack.encode(question), timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            raise BundleRefused(f"graph.onnx: was not proved within {PATIENCE:.0f} s") from None
    words = " ".join(said.decode(errors="replace").split())
    if child.returncode == REFUSED:
        raise BundleRefused(words[:_WORDS])
    if child.returncode != 0:
        raise BundleRefused(f"graph.onnx: {_ended(child.returncode, words[-_WORDS:])}")
    _proved.add(question.name)


def _ended(status: int, words: str) -> str:
    """Say how a child ended that should have answered."""
    if status == -signal.SIGXCPU:
        return f"needs more than {SECONDS} s of computing"
    last = f" ({words})" if words else ""
    if status < 0:
        return f"ends the process that loads it, by {signal.Signals(-status).name}{last}"
    return f"its proof ended with status {status}{last}"


def prove_within(question: Question) -> None:
    """Apply our own limits on graphs, in a process that has called `limit_this_process`."""
    from runtime.bundles.graphs import check_graph

    check_graph(question.graph)


def open_graph(question: Question) -> DecisionSession:
    """Load a graph that keeps our limits, and decide its golden rows again, to the bit.

    Raises:
        BundleRefused: it does not load, wants other inputs, or says something else.
    """
    session = DecisionSession(question.graph, checked=True, abstains_below=question.abstains_below)
    if session.confident != question.confident:
        gives, declares = ("a", "no") if session.confident else ("no", "a")
        raise BundleRefused(
            f"graph.onnx: gives {gives} confidence, the manifest declares {declares} confidence"
        )
    if question.ranks.keys() != set(session.input_names):
        raise BundleRefused(
            f"graph.onnx: wants the inputs {sorted(session.input_names)}, "
            f"the manifest declares {sorted(question.ranks)}"
        )
    rows = read_golden(question.golden)
    replay_golden(session, rows, question.ranks, question.symbols)
    return session


def limit_this_process() -> None:
    """Load what a proof needs; then allow MEMORY more, SECONDS of CPU in all, and no new file."""
    for name in _LOADED_FIRST:
        import_module(name)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for what, limit in (
        (resource.RLIMIT_AS, used + MEMORY),
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))


def main() -> int:
    """Answer one question from stdin by exit status; returns it."""
    limit_this_process()
    asked = sys.stdin.buffer.read()
    if not asked:
        return UNASKED
    try:
        question = from_msgpack(asked, Question)
        prove_within(question)
        open_graph(question)
    except BundleRefused as error:
        sys.stderr.write(str(error))
        return REFUSED
    except (MemoryError, RecursionError) as error:
        kind = "memory" if isinstance(error, MemoryError) else "depth"
        sys.stderr.write(f"graph.onnx: asks for more {kind} than {MEMORY >> 20} MB allow")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
