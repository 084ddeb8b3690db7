"""Processes, sockets, signals, heartbeats: what keeps a node's children running. It imports `base` only.

The composition root does, in this order:

    hold_restarts()                                        # until the supervisor can take the signal
    with StateLock(state_dir) as lock:                     # refuses a second supervisor
        memory = NodeMemory.create(...)
        listeners = bind_listeners(node.listen, workers)   # before any child; the supervisor owns them for life
        specs = [ChildSpec("worker-0", run_worker, slots=range(4), sockets={"listen": listeners[0], ...}), ...]
        return Supervisor(memory=memory, specs=specs, lock=lock, ...).run()

A restart runs it in the program's next version, which `arrive` tells from an ordinary start: first as a rehearsal, then in place
of the supervisor that runs. See `_memo`.
"""

from gateway.supervisor import progress
from gateway.supervisor._child import ChildEnv, ChildSpec, Restart
from gateway.supervisor._crew import Log, SlotTable, describe_exit
from gateway.supervisor._errors import ListenError, NoNodeError, StartError, StateDirInUseError
from gateway.supervisor._limits import check_file_limit, worker_count
from gateway.supervisor._memo import Memo, Rehearsal, TakeOver, arrive
from gateway.supervisor._notify import sd_notify
from gateway.supervisor._policy import Backoff, Policy
from gateway.supervisor._process import StartMethod
from gateway.supervisor._rehearsal import Succession
from gateway.supervisor._reports import RecentLines
from gateway.supervisor._signals import hold_restarts
from gateway.supervisor._sockets import bind_listeners, spread
from gateway.supervisor._statelock import StateLock
from gateway.supervisor._supervisor import (
    DEFAULT_START_METHOD,
    EXIT_CLEAN,
    EXIT_CRASH_LOOP,
    EXIT_KILLED,
    Supervisor,
)

__all__ = [
    "DEFAULT_START_METHOD",
    "EXIT_CLEAN",
    "EXIT_CRASH_LOOP",
    "EXIT_KILLED",
    "Backoff",
    "ChildEnv",
    "ChildSpec",
    "ListenError",
    "Log",
    "Memo",
    "NoNodeError",
    "Policy",
    "RecentLines",
    "Rehearsal",
    "Restart",
    "SlotTable",
    "StartError",
    "StartMethod",
    "StateDirInUseError",
    "StateLock",
    "Succession",
    "Supervisor",
    "TakeOver",
    "arrive",
    "bind_listeners",
    "check_file_limit",
    "describe_exit",
    "hold_restarts",
    "progress",
    "sd_notify",
    "spread",
    "worker_count",
]
