"""Processes, sockets, signals, heartbeats: what keeps a node's children running. It imports `base` only.

The composition root does, in this order:

    with StateLock(state_dir) as lock:                     # refuses a second supervisor
        memory = NodeMemory.create(...)
        listeners = bind_listeners(node.listen, workers)   # before any child; the supervisor owns them for life
        specs = [ChildSpec("worker-0", run_worker, slot=0, sockets={"listen": listeners[0], ...}), ...]
        return Supervisor(memory=memory, specs=specs, lock=lock, ...).run()
"""

from gateway.supervisor._child import ChildEnv, ChildSpec, Restart
from gateway.supervisor._errors import ListenError, StartError, StateDirInUseError
from gateway.supervisor._limits import check_file_limit, worker_count
from gateway.supervisor._notify import sd_notify
from gateway.supervisor._policy import Backoff, Policy
from gateway.supervisor._sockets import bind_listeners
from gateway.supervisor._statelock import StateLock
from gateway.supervisor._supervisor import (
    DEFAULT_START_METHOD,
    EXIT_CLEAN,
    EXIT_CRASH_LOOP,
    EXIT_KILLED,
    Log,
    SlotTable,
    StartMethod,
    Supervisor,
    describe_exit,
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
    "Policy",
    "Restart",
    "SlotTable",
    "StartError",
    "StartMethod",
    "StateDirInUseError",
    "StateLock",
    "Supervisor",
    "bind_listeners",
    "check_file_limit",
    "describe_exit",
    "sd_notify",
    "worker_count",
]
