"""The node's metrics in Prometheus's text format, out of the shared memory of all workers.

Stored names carry integer units (`_us`, `_nano_usd`); exposed ones Prometheus's base units (`_seconds`, `_usd`).
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from _fastpath.metrics import Sample, collect
from _fastpath.shm import NodeMemory
from gateway.base import node as slots

_HELP = {
    "throughway_requests_total": 'Requests answered, by error code ("ok" where there was none).',
    "throughway_added_latency_us": "Time that the gateway itself added to a request.",
    "throughway_provider_latency_us": "Time spent with providers, from sending to the last byte, all attempts.",
    "throughway_time_to_first_token_us": "From receiving a request to the first content of its stream.",
    "throughway_inter_token_us": "Between tokens of a stream.",
    "throughway_input_tokens_total": "Prompt tokens, as providers count them.",
    "throughway_output_tokens_total": "Tokens of answers, as providers count them.",
    "throughway_cost_nano_usd_total": "What the requests cost.",
    "throughway_unpriced_requests_total": "Requests to targets without a known price, recorded with cost 0.",
    "throughway_estimated_usage_total": "Requests whose usage the provider did not tell, and which was counted here.",
    "throughway_estimated_prompts_total": "Prompts too long to count at once, of which samples were counted.",
    "throughway_calibration_told_tokens_total": "Prompt tokens that providers told, where a count of ours is corrected by them.",
    "throughway_calibration_counted_tokens_total": "The same prompts as counted here; the quotient is what counts are corrected by.",
    "throughway_provider_token_renewals_total": "Tokens that were fetched for a provider (`auth`).",
    "throughway_provider_token_failures_total": "Times that a token could not be fetched; the old one is shown until its end.",
    "throughway_provider_tokens_missing": "Workers that have no valid token for a provider.",
    "throughway_loop_lag_us": "How late a worker's event loop ran its heartbeat.",
    "throughway_snapshot_swaps_total": "Snapshots that workers took into use.",
    "throughway_snapshot_failures_total": "Snapshots that workers could not use.",
    "throughway_config_reloads_total": "Changed configurations that were published to the workers.",
    "throughway_config_reload_failures_total": "Changed configurations that were refused; the last good one serves on.",
    "throughway_config_source": "1 for the source of the configuration that serves: file, redis, or last-known-good.",
    "throughway_config_source_up": "1 while the source can be asked and holds nothing that is refused.",
    "throughway_config_sequence": "Sequence number of the release that serves; 0 for a file.",
    "throughway_config_loaded_timestamp_seconds": "When what serves was taken from its source.",
    "throughway_config_source_faults_total": "Times that the source could not be asked or held what is refused, by reason.",
    "throughway_usage_records_shipped_total": "Usage records moved from the spool to the ledger.",
    "throughway_usage_records_dropped_total": "Usage records that could not be kept.",
    "throughway_usage_ship_failures_total": "Rounds of shipping that failed; the records wait.",
    "throughway_spool_bytes": "Usage records that wait on disk.",
}

_GAUGES = (
    ("throughway_in_flight_requests", slots.G_IN_FLIGHT, "Requests taken and not yet answered."),
    ("throughway_in_flight_tokens", slots.G_TOKENS_IN_FLIGHT, "Prompt tokens of requests in flight."),
    ("throughway_connections", slots.G_CONNECTIONS, "Connections of callers."),
    ("throughway_body_bytes", slots.G_BODY_BYTES, "Bytes of request bodies held."),
    ("throughway_upstream_connections_idle", slots.G_UPSTREAM_IDLE, "Connections to providers that wait in pools."),
    ("throughway_upstream_connections_busy", slots.G_UPSTREAM_BUSY, "Connections to providers that carry a request."),
    ("throughway_config_generation", slots.G_GENERATION, "Number of the snapshot that a worker runs."),
)


def _exposed(name: str) -> tuple[str, float]:
    """Prometheus's name of a stored one, and what its values are divided by."""
    suffix = "_total" if name.endswith("_total") else ""
    stem = name.removesuffix("_total")
    if stem.endswith("_us"):
        return stem.removesuffix("_us") + "_seconds" + suffix, 1e6
    if stem.endswith("_nano_usd"):
        return stem.removesuffix("_nano_usd") + "_usd" + suffix, 1e9
    return name, 1.0


class _NodeCollector(Collector):
    def __init__(self, memory: NodeMemory, workers: int) -> None:
        self._memory = memory
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        memory = self._memory
        serving = GaugeMetricFamily("throughway_workers_serving", "Workers that accept requests.")
        by_worker: dict[int, list[int]] = {number: [] for number in range(self._workers)}
        for slot in range(memory.slots):
            if memory.pid(slot) and memory.gauge(slot, slots.G_ROLE) == slots.ROLE_WORKER:
                by_worker.setdefault(memory.gauge(slot, slots.G_WORKER), []).append(slot)
        serving.add_metric([], sum(any(memory.state(s) == slots.SERVING for s in own) for own in by_worker.values()))
        yield serving
        for name, which, text in _GAUGES:
            family = GaugeMetricFamily(name, text, labels=["worker"])
            merge = (
                max if which == slots.G_GENERATION else sum
            )  # of a worker that hands over and the one that follows it
            for number, own in sorted(by_worker.items()):
                family.add_metric([str(number)], merge([memory.gauge(slot, which) for slot in own] or [0]))
            yield family
        families: dict[str, tuple[Metric, float]] = {}
        for sample in collect(memory):
            if sample.name not in families:
                families[sample.name] = _family(sample)
            family_of, divisor = families[sample.name]
            _add(family_of, sample, divisor)
        yield from (metric for metric, _ in families.values())


def _family(sample: Sample) -> tuple[Metric, float]:
    name, divisor = _exposed(sample.name)
    text = _HELP.get(sample.name, sample.name)
    made: Metric
    if sample.kind == "counter":
        made = CounterMetricFamily(name, text)
    elif sample.kind == "gauge":
        made = GaugeMetricFamily(name, text)
    else:
        made = HistogramMetricFamily(name, text)
    return made, divisor


def _add(family: Metric, sample: Sample, divisor: float) -> None:
    if sample.kind != "histogram":
        family.add_sample(_exposed(sample.name)[0], sample.labels, sample.value / divisor)
        return
    bounds = [*(f"{bound / divisor:g}" for bound in sample.bounds), "+Inf"]
    for bound, count in zip(bounds, sample.buckets, strict=True):
        family.add_sample(f"{family.name}_bucket", {**sample.labels, "le": bound}, count)
    family.add_sample(f"{family.name}_count", sample.labels, sample.value)
    family.add_sample(f"{family.name}_sum", sample.labels, sample.total / divisor)


def render(memory: NodeMemory, workers: int) -> bytes:
    """All metrics of the node, as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_NodeCollector(memory, workers))
    return generate_latest(registry)
