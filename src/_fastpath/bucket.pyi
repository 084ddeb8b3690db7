"""Rates (GCRA), concurrency and money of scopes, in the node's shared memory: exact over processes; admission takes no
lock.

GCRA keeps one 64-bit theoretical arrival time (TAT, ns of CLOCK_MONOTONIC) a bucket. With rate N a minute and a burst
of N, n units are admitted at `now` if max(TAT, now) + n * T - now <= burst * T, with T = 60e9 / N ns a unit; then TAT
becomes max(TAT, now) + n * T. (ITU-T I.371; Brandur Leach, "Rate limiting, cells, and GCRA".)
"""

from typing import final

from _fastpath.shm import NodeMemory

UNLIMITED: int  # -1, wherever a limit is given

# What `Plan.admit` answers: admitted, or what refused.
ADMITTED: int  # 0
REQUESTS: int  # 1
TOKENS: int  # 2
CONCURRENCY: int  # 3
BUDGET: int  # 4
TABLE_FULL: int  # 5: no row was free within the bounded probe; treated as overload by callers

@final
class Table:
    """The table of limits of one process: the shared rows, and this process's own slot for its cells."""

    def __new__(cls, memory: NodeMemory, slot: int) -> Table: ...
    def plan(self, scopes: list[Scope]) -> Plan:
        """Compiles the scopes of one key, in the order in which they are debited (at most 8), finding or taking a row
        for each.

        Raises:
            ValueError: more than 8 scopes, or one named twice.
            RuntimeError: the table is full.
        """
    def plan_at(self, now_ns: int, scopes: list[Scope]) -> Plan:
        """`plan` by another clock, for tests: rows that are idle at `now_ns` may be used again."""
    def spent(self, scope_id: bytes, period: int) -> int:
        """nano-USD settled in the row of (scope_id, period); 0 where there is no row."""
    def seed_spent(self, scope_id: bytes, period: int, nano_usd: int) -> None:
        """Raises what was spent to at least `nano_usd` (at start, from the ledger).

        Raises:
            RuntimeError: the table is full.
        """
    def in_flight(self, scope_id: bytes) -> int:
        """Requests in flight of a scope, over all slots."""
    @property
    def rows_used(self) -> int: ...

@final
class Scope:
    """One scope's limits. `scope_id` names it for ever (such as b"key/K1" or b"team/search").

    Args:
        scope_id: at most 64 bytes.
        requests_per_minute, tokens_per_minute, concurrency, budget_nano_usd: the limits, UNLIMITED where none.
        period: the number of the budget's calendar period (such as 20261123 for a day); a new period begins with
            nothing spent. Rates and concurrency know no period. 0: a budget that is never renewed.

    Raises:
        ValueError: a scope_id that is empty or too long, a negative limit, a rate beyond 10**12 a minute.
    """

    def __new__(
        cls,
        scope_id: bytes,
        requests_per_minute: int = -1,
        tokens_per_minute: int = -1,
        concurrency: int = -1,
        budget_nano_usd: int = -1,
        period: int = 0,
    ) -> Scope: ...

@final
class Plan:
    """The compiled scopes of one key."""

    def admit(self, tokens: int, nano_usd: int) -> int:
        """Debits one request, `tokens` and a reservation of `nano_usd` from every scope in order, or from none.

        Returns ADMITTED, or what refused (then all that was debited is given back; `refused_scope`, `retry_after_ms`
        tell more).

        Raises:
            ValueError: a negative number.
        """
    def admit_at(self, now_ns: int, tokens: int, nano_usd: int) -> int:
        """`admit` by a clock that the caller has read already (CLOCK_MONOTONIC), or a test made up."""
    def settle(self, reserved_tokens: int, tokens: int, reserved_nano_usd: int, nano_usd: int) -> None:
        """Ends what `admit` began, once: the slot's concurrency and reservation are released, the difference of tokens
        is debited (or given back), `nano_usd` is added to what was spent."""
    def cancel(self, tokens: int, nano_usd: int) -> None:
        """Gives back all that `admit` took, as if the request had never been: nothing of it reached a provider."""
    @property
    def clock_ns(self) -> int:
        """The clock that the last `admit` used."""
    @property
    def refused_scope(self) -> int:
        """Index in the list given to `Table.plan` of the scope that refused last."""
    @property
    def retry_after_ms(self) -> int:
        """Of the last refusal: when the same request could be admitted; 0 where time alone does not help (concurrency,
        budget, a full table), -1 where it never could be (a request of more tokens than the bucket holds)."""
    def requests_left(self) -> tuple[int, int, int]:
        """(limit, remaining, reset_ms) of the tightest requests-a-minute limit; (-1, -1, 0) where none is set."""
    def tokens_left(self) -> tuple[int, int, int]:
        """The same of tokens a minute."""
    def limit_fields(self) -> bytes:
        """`requests_left` and `tokens_left` as header lines, each with its CRLF, as OpenAI's clients read them: `x-ratelimit-limit-requests`,
        `-remaining-` and `-reset-` (a duration in ms), and the same of tokens (OpenAI, "Rate limits in headers")."""
    def budget_left(self) -> int:
        """nano-USD left of the tightest budget, reservations deducted; -1 where none is set."""
