"""Loops in C around kernels; `bench.kernels.native` compiles them."""

from libc.stdint cimport int64_t

from _fastpath.bucket cimport Plan
from _fastpath.cachekey cimport CacheKeys
from _fastpath.chat cimport read_request
from _fastpath.http1 cimport RequestHead, ResponseHead, parse_request_into, parse_response_into
from _fastpath.jsonscan cimport scan
from _fastpath.shm cimport monotonic_ns
from _fastpath.sse cimport ChatScanner
from _fastpath.tokens cimport Encoding

cdef extern from *:
    """
    #include <stdint.h>
    #if defined(__clang__)
    #define COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define COMPILER "gcc " __VERSION__
    #else
    #define COMPILER "unknown"
    #endif

    static void waste_instructions(int64_t count) {
        for (volatile int64_t left = count / 4; left > 0; left = left - 1) { }
    }

    /* callgrind closes a part where it enters here */
    static void __attribute__((noinline)) tw_bench_mark(void) { __asm__ volatile(""); }
    """
    const char *C_COMPILER "COMPILER"
    void waste_instructions(int64_t count)
    void tw_bench_mark()

COMPILER = C_COMPILER.decode()


def mark():
    """Ends a part of what is counted."""
    tw_bench_mark()


def waste(int64_t instructions):
    """About so many."""
    waste_instructions(instructions)


def clock(int64_t times):
    cdef int64_t i, last = 0
    for i in range(times):
        last |= monotonic_ns()
    return last


def admit(Plan plan, int64_t tokens, int64_t times):
    """Only what is admitted counts: how often it was."""
    cdef int64_t i, admitted = 0
    for i in range(times):
        admitted += plan.admit(tokens, 0) == 0
        plan.settle(tokens, tokens, 0, 0)
    return admitted


def admit_alone(Plan plan, int64_t tokens, int64_t times):
    """Never settled: of a plan that bounds no concurrency."""
    cdef int64_t i, admitted = 0
    for i in range(times):
        admitted += plan.admit(tokens, 0) == 0
    return admitted


def scan_body(bytes body, tuple keys, int64_t times):
    cdef int64_t i
    for i in range(times):
        scan(body, keys, 100)


def read_chat(bytes body, int64_t times):
    cdef int64_t i
    for i in range(times):
        read_request(body, 100)


def feed(list reads, int64_t times):
    """A stream each time."""
    cdef int64_t i
    cdef ChatScanner scanner
    for i in range(times):
        scanner = ChatScanner(True)
        for read in reads:
            scanner.feed(<bytes>read)


def request_head(RequestHead head, bytes buf, int64_t times):
    cdef int64_t i
    for i in range(times):
        parse_request_into(head, buf, 0, 65536)


def response_head(ResponseHead head, bytes buf, int64_t times):
    cdef int64_t i
    for i in range(times):
        parse_response_into(head, buf, 0, 65536)


def cache_key(CacheKeys keys, bytes body, int64_t times):
    cdef int64_t i
    for i in range(times):
        keys.key(body, b"")


def count_tokens(Encoding encoding, bytes text, int64_t times):
    cdef int64_t i
    cdef Py_ssize_t steps
    cdef Py_ssize_t total = 0
    for i in range(times):
        steps = 1 << 40
        total += encoding.count_utf8(text, len(text), &steps)
    return total
