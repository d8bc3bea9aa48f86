"""What a warm parent holds before it forks: libraries and our own modules, imported and warmed.

Only the standard library is imported here, and `lean`, which does likewise; everything else comes
in by name, so that the parent can watch which threads an import starts.
"""

import contextlib
import ctypes
import importlib
import platform
import sys
import time
import types
from pathlib import Path
from typing import Any

from pipelines.runs.lean import without_grammars

_PATIENCE = 1000  # looks at a thread that starts, a hundredth of a second apart
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_MADV_COLLAPSE, _HUGE = 25, 2 << 20  # Linux 6.1, madvise(2); bytes of a huge page

LIBRARIES = (
    "numpy",
    "pandas",
    "scipy.stats",
    "scipy.special",
    "sklearn",
    "numba",
    "msgspec",
    "sqlalchemy",
    "sqlalchemy.dialects.sqlite",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "matplotlib.dates",
    "onnx",
    "onnx.reference",
    "spox",
    "spox.opset.ai.onnx.v20",
    "spox.opset.ai.onnx.v21",
    "spox.opset.ai.onnx.ml.v4",
    "spox.opset.ai.onnx.ml.v5",
    "PIL.Image",
    "PIL.PngImagePlugin",
    "nbformat",
    "nbclient",
    "papermill",
    "papermill.engines",
    "IPython",
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.debugger",
    "tornado.platform.asyncio",
    "IPython.core.completerlib",
    "IPython.core.oinspect",
    "IPython.core.debugger",
    "IPython.core.logger",
    "pdb",
    "zmq.utils.garbage",
    "IPython.extensions.storemagic",
    "plotly.graph_objects",
    "plotly.io",
    "vectorbt",
    "onnxruntime",  # no thread, because it is told to report nothing
)
# Starts one thread on import that sleeps until it is given work, and is given none here.
SLEEPERS = ("polars",)
_FUTEX = {"x86_64": "202", "aarch64": "98"}  # number of the system call, Linux
# Our own, last: they import the ones above. A parent is replaced when their source changes.
OURS = (
    "deltalake",
    "ndonnx",
    "pipelines.research",
    "pipelines.plots",
    "pipelines.vectorbt_check",
    "pipelines.sweeps.messages",
    "pipelines.runs.prompt",
    "pipelines.runs.provisioner",
)


def threads() -> set[int]:
    """Return the ids of this process's threads."""
    return {int(entry.name) for entry in Path("/proc/self/task").iterdir()}


def preload() -> tuple[list[str], set[int]]:
    """Import what is installed of the lists above.

    Returns:
        The modules, and the threads that the sleepers' imports started.
    """
    with without_grammars():
        done = _imported(LIBRARIES)
    sleeping: set[int] = set()
    for name in SLEEPERS:
        before = threads()
        done += _imported((name,))
        started = threads() - before
        if len(started) == 1 and _falls_asleep(min(started)):  # more of them would be workers
            sleeping |= started
    return done + _imported(OURS), sleeping


def _imported(names: tuple[str, ...]) -> list[str]:
    done = []
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
            done.append(name)
    return done


def keep_memory() -> None:
    """Let the C library reuse what is freed; pages asked for anew cost a fault each."""
    library = ctypes.CDLL(None)
    for option, size in ((_M_MMAP_THRESHOLD, 32 << 20), (_M_TRIM_THRESHOLD, 256 << 20)):
        library.mallopt(option, size)


def in_huge_pages() -> None:
    """Gather this process's own memory in huge pages, where the system can.

    A fork, and the end of what was forked, cost by the page; with these, half of it. A child that
    writes still copies no more than the small page it writes to.
    """
    library = ctypes.CDLL(None)
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, rights, _offset, _device, inode, *_ = line.split()
        first, last = (int(edge, 16) // _HUGE * _HUGE for edge in place.split("-"))
        first += _HUGE  # the next boundary
        if rights.startswith("rw-p") and inode == "0" and first < last:
            length = ctypes.c_size_t(last - first)
            library.madvise(ctypes.c_void_p(first), length, _MADV_COLLAPSE)  # or stays as it is


def asleep(thread: int) -> bool:
    """Say whether a thread of this process waits in a futex without a deadline.

    Such a thread cannot wake by itself, so what is seen here still holds at the fork that follows.
    One that waits with a deadline, for a file or for the network may hold a lock: it is awake.
    """
    try:
        call = Path(f"/proc/self/task/{thread}/syscall").read_text().split()
    except OSError:
        return False  # gone, or this system does not tell
    # number of the call, address, operation, value, deadline, ...
    return len(call) > 4 and call[0] == _FUTEX.get(platform.machine()) and int(call[4], 16) == 0


def _falls_asleep(thread: int) -> bool:
    """Give a thread that has just started the time to come to rest; False if it never does."""
    for _ in range(_PATIENCE):
        if asleep(thread):
            return True
        time.sleep(0.01)
    return False


def warm_up() -> None:
    """Compile and cache what every run compiles and caches; no file of a workspace is read."""
    if "vectorbt" in sys.modules and "pandas" in sys.modules:
        _simulate_once()
    if "pipelines.research" in sys.modules:
        _decide_once()
        _draw_once()
    if "ipykernel.ipkernel" in sys.modules:
        _do_without_debugger()
    if "nbformat" in sys.modules and "nbclient" in sys.modules:
        _validate_once()


def _do_without_debugger() -> None:
    """Let kernels start without a debugger, which nobody attaches to a notebook that is executed.

    For it a kernel asks every module for its file: four thousand of them here, and each page that
    is only looked at has to be copied, since looking counts references.
    """
    ipkernel = sys.modules["ipykernel.ipkernel"]
    seen = types.ModuleType("sys")
    vars(seen).update(vars(sys), modules={})
    ipkernel.sys = seen  # type: ignore[attr-defined]
    sys.modules["ipykernel.debugger"]._is_debugpy_available = False  # type: ignore[attr-defined]


def _simulate_once() -> None:
    """Compile what vectorbt compiles in every process, on a few made-up days."""
    vectorbt, pandas = sys.modules["vectorbt"], sys.modules["pandas"]
    index = pandas.date_range("2001-01-01", periods=40)
    close = pandas.DataFrame({"a": range(40, 80), "b": range(60, 100)}, index, dtype="float64")
    size = close * 0.0
    size.iloc[5] = 1.0
    size.iloc[20] = -1.0
    book = vectorbt.Portfolio.from_orders(
        close,
        size=size,
        size_type="amount",
        price=close,
        fees=0.001,
        init_cash=10_000.0,
        cash_sharing=True,
        group_by=True,
        call_seq="auto",
        freq="1D",
    )
    book.value()
    len(book.orders)
    returns = close["a"].pct_change().fillna(0.0).vbt.returns(freq="1D", year_freq="252D")
    for name in (
        "total",
        "annualized",
        "annualized_volatility",
        "sharpe_ratio",
        "sortino_ratio",
        "calmar_ratio",
        "max_drawdown",
        "value_at_risk",
        "cond_value_at_risk",
    ):
        getattr(returns, name)()
    other = close["b"].pct_change().fillna(0.0)
    returns.beta(other)
    returns.information_ratio(other)
    returns.cumulative()
    figure = sys.modules["plotly.graph_objects"].Figure(layout={"template": "none"})
    returns.plot_cumulative(benchmark_rets=other, start_value=1.0, fig=figure).to_json()
    sys.modules["plotly.io"].templates["vbt_light"].to_plotly_json()


def _decide_once() -> None:
    """Trace and run a made-up decision, so that operators and calendars are at hand."""
    compiled, strategy = sys.modules["pipelines.compile"], sys.modules["pipelines.strategy"]
    numpy, calendars = sys.modules["numpy"], sys.modules["featurestore.calendars"]

    def decide(xp: Any, inputs: Any) -> Any:
        score = inputs.x[:, -1] / inputs.x[:, 0] - 1.0
        rank = xp.argsort(xp.argsort(-score, stable=True), stable=True)
        held = xp.astype(rank < 2, xp.float64) / xp.clip(xp.std(inputs.x, axis=1), min=1e-4)
        return score, held / xp.sum(held)

    declared = strategy.Strategy(
        inputs={"x": strategy.History(feature="us_equities.close", length=5)},
        decide=decide,
        parameters={},
    )
    graph = compiled.compile_strategy(declared, 3)
    sys.modules["runtime.bundles.inference"].DecisionSession(graph).run(
        {"x": numpy.arange(1.0, 16.0).reshape(3, 5) ** 1.1}
    )
    for name in calendars.calendar_names():
        calendars.load_calendar(name)


def _validate_once() -> None:
    """Compile the schema of notebooks, and find the installed provisioners of kernels."""
    notebook = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    nbformat = sys.modules["nbformat"]
    nbformat.writes(nbformat.reads(notebook, as_version=4))
    importlib.import_module("jupyter_client.provisioning").KernelProvisionerFactory.instance()


def _draw_once() -> None:
    """Load the letters of the charts, and let matplotlib find its own."""
    numpy, charts = sys.modules["numpy"], sys.modules["pipelines.charts"]
    x = numpy.arange(50.0)

    def chart(canvas: Any) -> None:
        scale = charts.Scale.of(x + 1.0, log=True)
        panel = charts.Panel(canvas=canvas, box=charts.boxes(canvas)[0], x=scale, y=scale)
        panel.frame("", x=charts.years(scale, 5), y=charts.steps(scale), size=7.0)
        panel.line(x + 1.0, x + 1.0, "#000000")
        panel.area(x + 1.0, x + 1.0, "#000000", base=1.0)

    def figure_of(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot(x, x)
        axes.set_title("0123456789.%-x()")

    charts.picture(chart, words="", size=(3.0, 2.0))
    sys.modules["matplotlib"].colormaps["GnBu"](x)
    sys.modules["pipelines.pictures"].draw(figure_of, words="", size=(3.0, 2.0))
