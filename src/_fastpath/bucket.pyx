# cython: auto_pickle=False, autotestdict=False
"""Rates (GCRA), concurrency and money of scopes, in the node's shared memory.

**Rates.** A bucket is one number, its theoretical arrival time (TAT). To admit `n` units at `now` is one
compare-and-swap of TAT to `max(TAT, now) + charge`, refused if that lies more than a minute (the burst) ahead of `now`.
The charge, n * 60e9 / limit ns, is an integer; what was cut off is carried to the plan's next charge, so all the
charges of a plan together are less than 1 ns short, however many they are.
    Guaranteed: in any window of time, units debited less units given back <= burst + rate x (last clock - first clock),
    and one ns a plan for roundings. Giving back counts when it happens: units given back so late that their place in
    the bucket has drained are a credit to those who come then, never more than was reserved.

**Concurrency.** A request adds one to its slot's share of the row, then sums the shares of all slots, and takes its one
back if the sum exceeds the limit. Of the requests that stand at one instant, the one that was added last saw all
others.
    Guaranteed: never more than the limit; two that come at once for the last place may both be refused.

**Money.** In the same way: add to the share's reservation, then sum all the reservations, then read what was spent.
`settle` adds to what was spent before it releases the reservation, so a reader, who reads the other way round, never
sees too little.
    Guaranteed: spent + reserved <= budget after every admission, as long as none settles for more than it reserved.

Scopes are debited in order; a refusal gives back what was debited before it. Until it has, others may be refused too
early.

**Rows.** A row is found by a keyed 128-bit hash of (scope, period), in a window of 32 rows. Rates and concurrency live
in the scope's row (period 0), money in the period's: midnight renews a budget, not a bucket. Finding a row takes no
lock. Taking one (a scope's first request on the node) takes a lock of fcntl(2), which the kernel releases if its holder
is killed; admission never does.
- A row is changed only while its `epoch` is odd. Whoever finds it odd, or other than noted, looks for the row again.
- A row that never was used is taken before one is used again, and none ever becomes unused again: so a search may end
  at the first unused one.
- A row may change hands when nothing is lost by it: no share held, both TATs past, not used for an hour, and nothing
  spent, or spent in a period that is not the scope's any more.
- An admission first adds its share and then reads the epoch; who takes a row first makes the epoch odd and then reads
  the shares. One of the two sees the other: **a row with a request in flight never changes hands**, so `settle` and
  `cancel` need no check.
- Killed while it takes a row, a process leaves the epoch odd. Under the lock an odd row is known to be such a wreck:
  its scope puts it back into service as it is, others take it if it is idle. What is written to it first leaves it
  idle.

A process killed at any instruction thus leaves at most: units debited from rates, which time gives back; and its
shares, which `NodeMemory.vacate` zeroes.

All of it is called with the GIL held: a plan's remainders have one writer.
"""

import hashlib
import os

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EACCES, EAGAIN, EINTR, errno
from libc.stdint cimport int64_t
from libc.string cimport memcpy, strlen
from posix.fcntl cimport F_SETLK, F_UNLCK, F_WRLCK, fcntl, flock
from posix.unistd cimport SEEK_SET

cimport cython

from _fastpath.shm cimport NodeMemory, Row, Share, add, load, monotonic_ns, shares_of, store, swap_if

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef extern from * nogil:
    """
    #define TW_MINUTE_NS INT64_C(60000000000)
    #define TW_MOST_NS (INT64_C(366) * 86400 * 1000000000)
    /* units * 60e9 / per_minute, rounded down with what the last one left over; at most a year. */
    static inline int64_t tw_charge(int64_t units, int64_t per_minute, int64_t *remainder) {
        if (units > -100000000 && units < 100000000) { /* 64 bits hold it, and divide faster */
            int64_t owed = units * TW_MINUTE_NS + *remainder, ns = owed / per_minute, rest = owed % per_minute;
            if (rest < 0) { rest += per_minute; ns -= 1; }
            *remainder = rest;
            return ns > TW_MOST_NS ? TW_MOST_NS : ns < -TW_MOST_NS ? -TW_MOST_NS : ns;
        }
        __int128 owed = (__int128)units * TW_MINUTE_NS + *remainder, ns = owed / per_minute, rest = owed % per_minute;
        if (rest < 0) { rest += per_minute; ns -= 1; }
        *remainder = (int64_t)rest;
        return ns > TW_MOST_NS ? TW_MOST_NS : ns < -TW_MOST_NS ? -TW_MOST_NS : (int64_t)ns;
    }
    /* How many whole units fit into the rest of a minute. */
    static inline int64_t tw_units(int64_t ns, int64_t per_minute) {
        return (int64_t)((__int128)ns * per_minute / TW_MINUTE_NS);
    }
    """
    int64_t charge_ns "tw_charge" (int64_t units, int64_t per_minute, int64_t *remainder) noexcept
    int64_t units_in "tw_units" (int64_t ns, int64_t per_minute) noexcept

UNLIMITED = -1
ADMITTED = 0
REQUESTS = 1
TOKENS = 2
CONCURRENCY = 3
BUDGET = 4
TABLE_FULL = 5

cdef enum:
    _ADMITTED = 0
    _REQUESTS = 1
    _TOKENS = 2
    _CONCURRENCY = 3
    _BUDGET = 4
    _TABLE_FULL = 5
    _MOVED = 6         # a row has changed hands: find it again
    WINDOW = 32        # rows that are searched
    MAX_SCOPE_ID = 64
    TRIES = 4          # to find rows again within one admission

cdef int64_t MINUTE_NS = 60_000_000_000
cdef int64_t IDLE_NS = 3_600_000_000_000
cdef int64_t STAMP_NS = 1_000_000_000        # how exactly the last use is known
cdef int64_t LOCK_WAIT_NS = 20_000_000       # of a holder that is not running; then the table counts as full
cdef int64_t MAX_RATE = 1_000_000_000_000
cdef int64_t NO_HOME[2]
NO_HOME[0] = NO_HOME[1] = 0


# -- one rate

cdef int64_t take(Rate *rate, int64_t *tat_ns, int64_t now_ns, int64_t units) noexcept nogil:
    """0 if admitted, else the time to wait; -1 if no wait is long enough."""
    cdef int64_t remainder = rate.remainder
    cdef int64_t tat, charge, ahead
    if units > rate.per_minute:
        return -1
    charge = charge_ns(units, rate.per_minute, &remainder) if units else 0
    tat = load(tat_ns)
    while True:
        ahead = (tat - now_ns if tat > now_ns else 0) + charge
        if ahead > MINUTE_NS:
            return ahead - MINUTE_NS
        if swap_if(tat_ns, &tat, now_ns + ahead):
            break
    rate.charged_ns = charge
    rate.remainder = remainder
    return 0


cdef void adjust(Rate *rate, int64_t *tat_ns, int64_t units) noexcept nogil:
    """Debits `units` that were already used, or gives back -`units`."""
    if units and rate.per_minute > 0:
        add(tat_ns, charge_ns(units, rate.per_minute, &rate.remainder))


cdef void untake(Rate *rate, int64_t *tat_ns) noexcept nogil:
    if rate.charged_ns:
        add(tat_ns, -rate.charged_ns)
    rate.remainder = rate.remainder_before


# -- sums over the slots

cdef int64_t in_flight_of(Row *row, int slots) noexcept nogil:
    cdef Share *shares = shares_of(row)
    cdef int64_t total = 0
    cdef int i
    for i in range(slots):
        total += load(&shares[i].in_flight)
    return total


cdef int64_t committed_of(Row *row, int slots) noexcept nogil:
    """Reserved and spent: in this order, which is the reverse of `settle`'s."""
    cdef Share *shares = shares_of(row)
    cdef int64_t total = 0
    cdef int i
    for i in range(slots):
        total += load(&shares[i].reserved_nano)
    return total + load(&row.spent_nano)


# -- one scope

cdef bint hold(Place *place) noexcept nogil:
    """Keeps the row from changing hands; false if it has."""
    add(&place.share.in_flight, 1)
    if load(&place.row.epoch) == place.epoch:
        return True
    add(&place.share.in_flight, -1)
    return False


cdef void release(Lane *lane) noexcept nogil:
    if lane.money.row != lane.scope.row:
        add(&lane.money.share.in_flight, -1)
    add(&lane.scope.share.in_flight, -1)


cdef bint enter(Lane *lane, int64_t now_ns) noexcept nogil:
    if not hold(&lane.scope):
        return False
    if lane.money.row != lane.scope.row:
        if not hold(&lane.money):
            add(&lane.scope.share.in_flight, -1)
            return False
        stamp(lane.money.row, now_ns)
    stamp(lane.scope.row, now_ns)
    return True


cdef void stamp(Row *row, int64_t now_ns) noexcept nogil:
    if now_ns - load(&row.last_used_ns) > STAMP_NS:
        store(&row.last_used_ns, now_ns)


cdef int debit(Lane *lane, int slots, int64_t now_ns, int64_t tokens, int64_t nano, int64_t *wait_ns) noexcept nogil:
    """Debits one scope, or nothing; what was debited stays noted in the lane for `undo`."""
    cdef int refused
    if not enter(lane, now_ns):
        return _MOVED
    lane.requests.charged_ns = lane.tokens.charged_ns = lane.reserved_nano = 0
    lane.requests.remainder_before = lane.requests.remainder
    lane.tokens.remainder_before = lane.tokens.remainder
    refused = debit_held(lane, slots, now_ns, tokens, nano, wait_ns)
    if refused:
        undo(lane)
    return refused


cdef int debit_held(
    Lane *lane, int slots, int64_t now_ns, int64_t tokens, int64_t nano, int64_t *wait_ns
) noexcept nogil:
    cdef Row *row = lane.scope.row
    if lane.requests.per_minute >= 0:
        wait_ns[0] = take(&lane.requests, &row.requests_tat_ns, now_ns, 1)
        if wait_ns[0]:
            return _REQUESTS
    if lane.tokens.per_minute >= 0:
        wait_ns[0] = take(&lane.tokens, &row.tokens_tat_ns, now_ns, tokens)
        if wait_ns[0]:
            return _TOKENS
    if lane.concurrency >= 0 and in_flight_of(row, slots) > lane.concurrency:
        return _CONCURRENCY
    if 0 <= lane.budget_nano < nano:    # so that no sum of reservations can wrap
        return _BUDGET
    lane.reserved_nano = nano
    add(&lane.money.share.reserved_nano, nano)
    if lane.budget_nano >= 0 and committed_of(lane.money.row, slots) > lane.budget_nano:
        return _BUDGET
    return _ADMITTED


cdef void undo(Lane *lane) noexcept nogil:
    add(&lane.money.share.reserved_nano, -lane.reserved_nano)
    untake(&lane.tokens, &lane.scope.row.tokens_tat_ns)
    untake(&lane.requests, &lane.scope.row.requests_tat_ns)
    release(lane)


cdef int64_t in_ms(int64_t ns) noexcept nogil:
    """Rounded up; -1 stays -1."""
    return (ns + 999_999) // 1_000_000 if ns > 0 else ns


@cython.final
cdef class Scope:
    def __cinit__(
        self,
        bytes scope_id not None,
        int64_t requests_per_minute=-1,
        int64_t tokens_per_minute=-1,
        int64_t concurrency=-1,
        int64_t budget_nano_usd=-1,
        int64_t period=0,
    ):
        if not 1 <= len(scope_id) <= MAX_SCOPE_ID:
            raise ValueError(f"a scope_id has 1 to {MAX_SCOPE_ID} bytes, not {len(scope_id)}")
        if min(requests_per_minute, tokens_per_minute, concurrency, budget_nano_usd) < -1:
            raise ValueError("a limit is UNLIMITED or not negative")
        if max(requests_per_minute, tokens_per_minute) > MAX_RATE:
            raise ValueError(f"a rate is at most {MAX_RATE} a minute")
        self._scope_id = scope_id
        self._limits.requests.per_minute = requests_per_minute
        self._limits.tokens.per_minute = tokens_per_minute
        self._limits.concurrency = concurrency
        self._limits.budget_nano = budget_nano_usd
        self._limits.period = period


@cython.final
cdef class Table:
    def __cinit__(self, NodeMemory memory not None, int slot):
        memory.slot_at(slot)  # raises
        self._memory = memory
        self._slot = slot
        self._slots = memory._slots
        self._window = min(<int64_t>WINDOW, memory._limit_rows)

    def plan(self, list scopes not None):
        return self.plan_at(monotonic_ns(), scopes)

    def plan_at(self, int64_t now_ns, list scopes not None):
        cdef Plan plan
        cdef Scope scope
        cdef Lane *lane
        if len(scopes) > MAX_SCOPES:
            raise ValueError(f"a plan has at most {MAX_SCOPES} scopes, not {len(scopes)}")
        if len({(<Scope?>scope)._scope_id for scope in scopes}) != len(scopes):
            raise ValueError("a plan names each scope once")
        self._memory.require_open()
        plan = Plan.__new__(Plan)
        plan._table = self
        for scope in scopes:
            lane = &plan._lanes[plan._count]
            lane[0] = scope._limits
            self._key_of(scope._scope_id, 0, lane.scope.key)
            self._key_of(scope._scope_id, lane.period, lane.money.key)
            plan._count += 1
        if not plan._place(now_ns):
            raise RuntimeError("the table of limits is full")
        return plan

    def spent(self, bytes scope_id not None, int64_t period):
        cdef Place place
        cdef int64_t nano
        self._memory.require_open()
        self._key_of(scope_id, period, place.key)
        if not self._find(&place):
            return 0
        nano = load(&place.row.spent_nano)
        return nano if load(&place.row.epoch) == place.epoch else 0

    def seed_spent(self, bytes scope_id not None, int64_t period, int64_t nano_usd):
        cdef Lane lane
        cdef int64_t spent
        cdef int64_t now_ns = monotonic_ns()
        self._memory.require_open()
        self._key_of(scope_id, 0, lane.scope.key)
        self._key_of(scope_id, period, lane.money.key)
        lane.period = period
        for _ in range(TRIES):
            if not self._place_lane(&lane, now_ns):
                break
            if not enter(&lane, now_ns):
                continue
            spent = load(&lane.money.row.spent_nano)
            while spent < nano_usd and not swap_if(&lane.money.row.spent_nano, &spent, nano_usd):
                pass
            release(&lane)
            return
        raise RuntimeError("the table of limits is full")

    def in_flight(self, bytes scope_id not None):
        cdef Place place
        cdef int64_t total
        self._memory.require_open()
        self._key_of(scope_id, 0, place.key)
        if not self._find(&place):
            return 0
        total = in_flight_of(place.row, self._slots)
        return total if load(&place.row.epoch) == place.epoch else 0

    @property
    def rows_used(self):
        cdef int64_t i
        cdef int64_t used = 0
        self._memory.require_open()
        for i in range(self._memory._limit_rows):
            used += load(&self._memory.row_at(i).key[0]) != 0
        return used

    # -- rows

    cdef int _key_of(self, bytes scope_id, int64_t period, int64_t *key) except -1:
        cdef bytes secret = (<char *>self._memory._header.hash_key)[:16]
        cdef bytes digest = hashlib.blake2b(
            period.to_bytes(8, "little", signed=True) + scope_id, digest_size=16, key=secret
        ).digest()
        memcpy(key, <char *>digest, 16)
        key[0] = key[0] or 1  # 0 is a row that never was used
        key[1] = key[1] or 1  # 0 is a row that is being written
        return 0

    cdef void _note(self, Place *place, Row *row, int64_t epoch) noexcept nogil:
        place.row = row
        place.share = shares_of(row) + self._slot
        place.epoch = epoch

    cdef bint _find(self, Place *place) noexcept nogil:
        cdef int64_t i, epoch, first
        cdef Row *row
        for i in range(self._window):
            row = self._probe(place.key, i)
            epoch = load(&row.epoch)
            first = load(&row.key[0])
            if first == 0:
                return False
            if first != place.key[0] or load(&row.key[1]) != place.key[1]:
                continue
            if epoch & 1 or load(&row.epoch) != epoch:
                return False  # it is changing hands
            self._note(place, row, epoch)
            return True
        return False

    cdef int _place_lane(self, Lane *lane, int64_t now_ns) except -1:
        """Finds or takes both rows of a scope. 0: the table is full."""
        if not self._claim(&lane.scope, NO_HOME, lane.period, now_ns):
            return 0
        if lane.period == 0:
            lane.money = lane.scope
            return 1
        if load(&lane.scope.row.period) != lane.period and hold(&lane.scope):  # one that moved, the admission will see
            store(&lane.scope.row.period, lane.period)
            add(&lane.scope.share.in_flight, -1)
        return self._claim(&lane.money, lane.scope.key, lane.period, now_ns)

    cdef int _claim(self, Place *place, int64_t *home, int64_t period, int64_t now_ns) except -1:
        cdef int64_t deadline_ns
        cdef bint claimed
        if self._find(place):
            return 1
        deadline_ns = monotonic_ns() + LOCK_WAIT_NS
        while not set_lock(self._memory._fd, F_WRLCK):
            if errno != EAGAIN and errno != EACCES and errno != EINTR:
                raise OSError(errno, os.strerror(errno))
            if monotonic_ns() > deadline_ns:
                return 0
            sched_yield()
        claimed = self._claim_locked(place, home, period, now_ns)
        set_lock(self._memory._fd, F_UNLCK)
        return claimed

    cdef bint _claim_locked(self, Place *place, int64_t *home, int64_t period, int64_t now_ns) noexcept nogil:
        cdef int64_t i
        cdef Row *row
        cdef Row *unused = NULL
        if self._find(place):
            return True
        for i in range(self._window):
            row = self._probe(place.key, i)
            if row.key[0] == place.key[0] and row.key[1] == place.key[1]:  # odd, else it would have been found: a wreck
                self._note(place, row, add(&row.epoch, 1))
                return True
            if row.key[0] == 0:
                unused = row
                break
        for i in range(self._window):
            row = unused if unused is not NULL else self._probe(place.key, i)
            if self._hand_over(row, place.key, home, period, now_ns):
                self._note(place, row, row.epoch)
                return True
        return False

    cdef bint _hand_over(self, Row *row, int64_t *key, int64_t *home, int64_t period, int64_t now_ns) noexcept nogil:
        """Gives an idle row a new key. The lock is held."""
        if row.key[0] and not self._idle(row, now_ns):
            return False
        if not row.epoch & 1:
            add(&row.epoch, 1)
        if row.key[0] and not self._idle(row, now_ns):  # again, now that no admission can begin
            add(&row.epoch, 1)
            return False
        store(&row.spent_nano, 0)  # first, so that a wreck stays idle
        store(&row.key[1], 0)      # nobody's, until all else is written
        store(&row.key[0], key[0])
        store(&row.home[0], home[0])
        store(&row.home[1], home[1])
        store(&row.period, period)
        store(&row.requests_tat_ns, 0)
        store(&row.tokens_tat_ns, 0)
        store(&row.last_used_ns, now_ns)
        store(&row.key[1], key[1])
        add(&row.epoch, 1)
        return True

    cdef bint _idle(self, Row *row, int64_t now_ns) noexcept nogil:
        cdef Share *shares = shares_of(row)
        cdef int i
        if now_ns - load(&row.last_used_ns) <= IDLE_NS:
            return False
        for i in range(self._slots):
            if load(&shares[i].in_flight) or load(&shares[i].reserved_nano):
                return False
        if load(&row.requests_tat_ns) > now_ns or load(&row.tokens_tat_ns) > now_ns:
            return False
        return load(&row.spent_nano) == 0 or self._period_is_over(row)

    cdef bint _period_is_over(self, Row *row) noexcept nogil:
        """Whether the scope's row has gone on to another period. Where it is gone itself, nobody knows: no."""
        cdef Place scope
        memcpy(scope.key, row.home, sizeof(scope.key))
        if scope.key[0] == 0 or not self._find(&scope):
            return False
        return load(&scope.row.period) != load(&row.period)


cdef bint set_lock(int fd, short kind) noexcept nogil:
    """A lock of the process on the file's first byte, released by the kernel at the latest when the process ends."""
    cdef flock lock
    lock.l_type = kind
    lock.l_whence = SEEK_SET
    lock.l_start = 0
    lock.l_len = 1
    return fcntl(fd, F_SETLK, &lock) == 0


@cython.final
cdef class Plan:
    cpdef int admit(self, int64_t tokens, int64_t nano_usd) except -1:
        return self.admit_at(monotonic_ns(), tokens, nano_usd)

    cpdef int admit_at(self, int64_t now_ns, int64_t tokens, int64_t nano_usd) except -1:
        cdef int refused
        if tokens < 0 or nano_usd < 0:
            raise ValueError("tokens and nano_usd are not negative")
        self.clock_ns = now_ns
        for _ in range(TRIES):
            refused = self._admit_once(now_ns, tokens, nano_usd)
            if refused != _MOVED:
                return refused
            if not self._place(now_ns):
                break
        self.retry_after_ms = 0
        return _TABLE_FULL

    cdef int _admit_once(self, int64_t now_ns, int64_t tokens, int64_t nano_usd) noexcept nogil:
        cdef int i, refused
        cdef int64_t wait_ns = 0
        for i in range(self._count):
            refused = debit(&self._lanes[i], self._table._slots, now_ns, tokens, nano_usd, &wait_ns)
            if refused:
                self.refused_scope = i
                self.retry_after_ms = in_ms(wait_ns)
                while i > 0:
                    i -= 1
                    undo(&self._lanes[i])
                return refused
        return _ADMITTED

    cdef int _place(self, int64_t now_ns) except -1:
        cdef int i
        for i in range(self._count):
            if not self._table._place_lane(&self._lanes[i], now_ns):
                self.refused_scope = i
                return 0
        return 1

    cdef Row *_row_of(self, Place *place) noexcept nogil:
        """The row as it is now, though it may have moved since the plan was last used; NULL where there is none."""
        cdef Place now
        if load(&place.row.epoch) == place.epoch:
            return place.row
        now = place[0]
        return now.row if self._table._find(&now) else NULL

    cpdef settle(self, int64_t reserved_tokens, int64_t tokens, int64_t reserved_nano_usd, int64_t nano_usd):
        cdef Lane *lane
        cdef int i
        for i in range(self._count):
            lane = &self._lanes[i]
            if nano_usd:
                add(&lane.money.row.spent_nano, nano_usd)
            add(&lane.money.share.reserved_nano, -reserved_nano_usd)
            adjust(&lane.tokens, &lane.scope.row.tokens_tat_ns, tokens - reserved_tokens)
            release(lane)

    cpdef cancel(self, int64_t tokens, int64_t nano_usd):
        cdef Lane *lane
        cdef int i
        for i in range(self._count):
            lane = &self._lanes[i]
            add(&lane.money.share.reserved_nano, -nano_usd)
            adjust(&lane.tokens, &lane.scope.row.tokens_tat_ns, -tokens)
            adjust(&lane.requests, &lane.scope.row.requests_tat_ns, -1)
            release(lane)

    def requests_left(self):
        cdef int64_t tightest[3]
        cdef int64_t now_ns = monotonic_ns()
        cdef int i
        tightest[:] = [-1, -1, 0]
        for i in range(self._count):
            tighten(tightest, &self._lanes[i].requests, ahead_of(self._row_of(&self._lanes[i].scope), True, now_ns))
        return tightest[0], tightest[1], tightest[2]

    def tokens_left(self):
        cdef int64_t tightest[3]
        cdef int64_t now_ns = monotonic_ns()
        cdef int i
        tightest[:] = [-1, -1, 0]
        for i in range(self._count):
            tighten(tightest, &self._lanes[i].tokens, ahead_of(self._row_of(&self._lanes[i].scope), False, now_ns))
        return tightest[0], tightest[1], tightest[2]

    cpdef bytes limit_fields(self):
        cdef int64_t requests[3]
        cdef int64_t tokens[3]
        cdef int64_t now_ns = monotonic_ns()
        cdef char lines[2 * LIMIT_LINES_BYTES]
        cdef Py_ssize_t size
        cdef int i
        requests[:] = [-1, -1, 0]
        tokens[:] = [-1, -1, 0]
        for i in range(self._count):
            tighten(requests, &self._lanes[i].requests, ahead_of(self._row_of(&self._lanes[i].scope), True, now_ns))
            tighten(tokens, &self._lanes[i].tokens, ahead_of(self._row_of(&self._lanes[i].scope), False, now_ns))
        size = write_limit(lines, b"requests", requests)
        size += write_limit(lines + size, b"tokens", tokens)
        return PyBytes_FromStringAndSize(lines, size)

    def budget_left(self):
        cdef int64_t least = -1
        cdef int64_t left
        cdef Lane *lane
        cdef Row *row
        cdef int i
        for i in range(self._count):
            lane = &self._lanes[i]
            if lane.budget_nano < 0:
                continue
            row = self._row_of(&lane.money)
            left = lane.budget_nano - (committed_of(row, self._table._slots) if row is not NULL else 0)
            left = max(<int64_t>0, left)
            if least < 0 or left < least:
                least = left
        return least


cdef int64_t ahead_of(Row *row, bint requests, int64_t now_ns) noexcept nogil:
    """How far a bucket's TAT is ahead of the clock; 0 where it is full, as one without a row is."""
    if row is NULL:
        return 0
    return max(<int64_t>0, (load(&row.requests_tat_ns) if requests else load(&row.tokens_tat_ns)) - now_ns)


cdef enum:
    LIMIT_LINES_BYTES = 256    # three lines: names of at most 34 bytes, numbers of at most 20


cdef Py_ssize_t write_limit(char *at, const char *unit, int64_t *limit) noexcept nogil:
    """The three lines of one limit; nothing where there is none. By hand: snprintf took five times as long."""
    cdef char *end = at
    if limit[0] < 0:
        return 0
    end = put_number(put_text(put_text(put_text(end, b"x-ratelimit-limit-"), unit), b": "), limit[0])
    end = put_number(put_text(put_text(put_text(end, b"\r\nx-ratelimit-remaining-"), unit), b": "), limit[1])
    end = put_number(put_text(put_text(put_text(end, b"\r\nx-ratelimit-reset-"), unit), b": "), limit[2])
    return put_text(end, b"ms\r\n") - at


cdef inline char *put_text(char *at, const char *text) noexcept nogil:
    cdef size_t size = strlen(text)
    memcpy(at, text, size)
    return at + size


cdef char *put_number(char *at, int64_t number) noexcept nogil:
    """A number that is not negative, in decimal."""
    cdef char digits[20]
    cdef int n = 0
    while True:
        digits[n] = <char>(48 + number % 10)
        n += 1
        number //= 10
        if number == 0:
            break
    while n:
        n -= 1
        at[0] = digits[n]
        at += 1
    return at


cdef void tighten(int64_t *tightest, Rate *rate, int64_t ahead_ns) noexcept nogil:
    """Keeps (limit, remaining, reset_ms) of the rate that has the least left."""
    cdef int64_t left
    if rate.per_minute < 0:
        return
    left = units_in(max(<int64_t>0, MINUTE_NS - ahead_ns), rate.per_minute)
    if tightest[0] < 0 or left < tightest[1]:
        tightest[0] = rate.per_minute
        tightest[1] = left
        tightest[2] = in_ms(ahead_ns)
