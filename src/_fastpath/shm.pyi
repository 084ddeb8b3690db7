"""The node's shared memory: one file that the supervisor makes and every process of the node maps."""

from typing import final

LAYOUT_VERSION: int

class LayoutError(RuntimeError):
    """The file is not this layout: another version, another boot, another size."""

@final
class NodeMemory:
    """A mapped file with a header, worker slots, a table of limits and a region of metrics a slot.

    All integers are 64-bit and naturally aligned, and read and written atomically (`__atomic` builtins); a process
    killed at any instruction leaves nothing locked.
    """

    @staticmethod
    def create(path: str, slots: int, limit_rows: int, metrics_bytes: int) -> NodeMemory:
        """Makes the file anew (a temporary name, then rename), mode 0600, and maps it.

        Args:
            slots: the greatest number of processes that may hold a slot at once; 1 to 1024.
            limit_rows: rows of the table of limits; a scope takes one, and one more for its budget's period.
            metrics_bytes: of a slot's region of metrics; at least 1024.

        Raises:
            OSError: no room on the disk among others: all of the space is allocated here.
        """
    @staticmethod
    def attach(path: str) -> NodeMemory:
        """Maps a file that `create` made.

        Raises:
            LayoutError: magic, layout version, boot id or size do not fit.
        """
    def close(self) -> None:
        """Ends the use of this object (ValueError from then on). The mapping lives until all that was made from it is
        gone."""
    @property
    def slots(self) -> int: ...
    @property
    def limit_rows(self) -> int: ...
    @property
    def metrics_bytes(self) -> int: ...
    # -- one number for the whole node: the version of the snapshot that workers should run; they poll it
    @property
    def snapshot_generation(self) -> int: ...
    def announce_snapshot(self) -> int:
        """Adds one to the generation and returns it."""
    # -- worker slots
    def occupy(self, slot: int, pid: int) -> None:
        """A new process takes `slot`: its cells (concurrency, reserved money, gauges) are zeroed, state is STARTING."""
    def vacate(self, slot: int) -> None:
        """The process of `slot` has ended: zero its cells and its pid. Called by the supervisor after waitpid."""
    def beat(self, slot: int) -> None:
        """Stamps the slot's heartbeat with CLOCK_MONOTONIC."""
    def heartbeat_ns(self, slot: int) -> int: ...
    def pid(self, slot: int) -> int: ...
    def set_state(self, slot: int, state: int) -> None: ...
    def state(self, slot: int) -> int: ...
    def set_gauge(self, slot: int, which: int, value: int) -> None:
        """One of the 32 numbers of a slot (in-flight requests, generation served ...); their meanings are named in
        gateway.base.node."""
    def gauge(self, slot: int, which: int) -> int: ...
