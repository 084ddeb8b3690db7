from libc.stdint cimport int64_t

from _fastpath.bucket cimport Plan
from _fastpath.chat cimport Reading
from _fastpath.metrics cimport Cell, Histogram
from _fastpath.usage cimport Rates, Usage

cdef class Credential:
    cdef public bytes line
    cdef public int64_t until_ns
    cdef public object on_refused

cdef class TargetEntry:
    cdef public object target, provider, pool, kind
    cdef public Rates rates
    cdef public bytes fields, model_json
    cdef public object calibration, quirks
    cdef public dict heads, signings, metrics
    cdef public Credential credential

cdef class ModelEntry:
    cdef public object model
    cdef public str encoding
    cdef public int64_t max_output_tokens, lacks, least_context_tokens
    cdef public Rates rates
    cdef public list targets, fallbacks, schedule, calibrations, image_costs
    cdef public Py_ssize_t turn

cdef class KeyEntry:
    cdef public object key
    cdef public str team
    cdef public dict allowed
    cdef public Plan plan
    cdef public list scope_names
    cdef public int64_t tokens_per_minute, budget_ends_s, expires_at_s, learns_at_ms
    cdef public bytes record

cdef class Compiled:
    cdef public str version
    cdef public bytes fields, record
    cdef public dict models, providers, key_by_hmac, keys_seen
    cdef public list keepers
    cdef public object response_ids

cdef class RouteMetrics:
    cdef public Cell requests, input_tokens, output_tokens, cost_nano_usd
    cdef public Histogram added_us, provider_us, first_token_us, inter_token_us
    cdef public bytes record

cdef class Context:
    cdef public object exchange
    cdef public Compiled compiled
    cdef public str id
    cdef public int64_t received_ns
    cdef public object endpoint
    cdef public KeyEntry key
    cdef public Reading reading
    cdef public ModelEntry model
    cdef public TargetEntry target
    cdef public frozenset excluded
    cdef public int attempts
    cdef public int64_t deadline_ns

    cdef public Plan plan
    cdef public int64_t reserved_tokens, reserved_nano_usd, prompt_tokens, counted_tokens
    cdef public bytes limit_fields, dropped
    cdef public object follows

    cdef public bint hide_usage, counts
    cdef public object waiter
    cdef public object connection
    cdef public int64_t sent_ns, provider_ns, first_token_ns, last_token_ns
    cdef public RouteMetrics metrics

    cdef public Usage usage
    cdef public int64_t cost_nano_usd
    cdef public bint unpriced
    cdef public str finish_reason
    cdef public int status
    cdef public str code, error, trace_id, tags
    cdef public bint accounted
