"""What traces or checks the process of a worker, whoever started it: looked for, and switched off where it can be."""

import gc
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from bench.system.processes import tracer

KEEP = "BACKPROP_TRACE_WORKERS"  # where it is 1, workers are traced and checked as this process is
# Tools that a sitecustomize on PYTHONPATH, or LD_PRELOAD, starts in every process, and that no hook of Python shows.
AGENTS = ("ddtrace", "elasticapm", "memray", "newrelic", "opentelemetry.instrumentation", "scalene")
MONITORING_TOOLS = range(6)  # the ids that tools of sys.monitoring may have


def kept() -> bool:
    """Return whether the user wants workers to be traced."""
    return os.environ.get(KEEP) == "1"


def agents() -> list[str]:
    """Return in words which tools were loaded before the implementation is."""
    loaded = [name for name in AGENTS if name in sys.modules]
    return [f"{name} was loaded into the worker process: its times may be longer" for name in loaded]


def switch_off() -> list[str]:
    """Switch off what traces this process; return in words what it was, and what cannot be switched off.

    Does nothing where the user wants workers to be traced.
    """
    if kept():
        return []
    hooks = dict.fromkeys([*_functions(), *_monitoring_tools(), *_memory_debugging()])
    return [
        *(f"{hook} was on in the worker process, and was switched off before it was timed" for hook in hooks),
        *(f"{fact}: its times may be longer" for fact in _facts()),
    ]


def _functions() -> Iterator[str]:
    """Clear the functions that Python calls for every line and call; give the name of each that was set."""
    all_threads = "_all_threads" if hasattr(threading, "settrace_all_threads") else ""  # from Python 3.12 on
    for kind in ("trace", "profile"):
        functions = [getattr(module, f"get{kind}")() for module in (sys, threading)]
        if any(functions):
            getattr(sys, f"set{kind}")(None)
            getattr(threading, f"set{kind}{all_threads}")(None)
        for function in filter(None, functions):
            yield f"the {kind} function of {_module(function)}"


def _module(function: Any) -> str:
    """Return the name of the module that a function, or an object that is called as one, comes from."""
    return str(getattr(function, "__module__", None) or type(function).__module__)


def _monitoring_tools() -> Iterator[str]:
    """Free the tools of sys.monitoring, which Python has from 3.12 on; give the name of each."""
    monitoring: Any = getattr(sys, "monitoring", None)
    for tool in MONITORING_TOOLS if monitoring else ():
        name = monitoring.get_tool(tool)
        if name is not None:
            monitoring.set_events(tool, monitoring.events.NO_EVENTS)
            for event in vars(monitoring.events).values():
                if event:
                    monitoring.register_callback(tool, event, None)
            monitoring.free_tool_id(tool)
            yield f"{name} by sys.monitoring"


def _memory_debugging() -> Iterator[str]:
    """Switch off what is done for every allocation; give its name."""
    tracemalloc = sys.modules.get("tracemalloc")  # nothing traces where it was never imported
    if tracemalloc is not None and tracemalloc.is_tracing():
        tracemalloc.stop()
        yield "tracemalloc"
    if gc.get_debug():
        gc.set_debug(0)
        yield "debugging of the garbage collector"


def _facts() -> Iterator[str]:
    """Give what cannot be switched off."""
    if sys.flags.dev_mode:
        yield "the worker process is in Python's development mode"
    if hasattr(sys, "gettotalrefcount"):
        yield "the worker process runs a debug build of Python"
    if debugger := tracer():
        yield f"{debugger} is attached to the worker process"
