"""GET /metrics: the node's, as its ops listener gives them, and the control plane's own behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.control.admin._node import NodeClient, NodeDownError


class Metrics(Collector):
    """The control plane's own figures."""

    def __init__(self) -> None:
        self.answered: Counter[int] = Counter()
        """Requests, by status."""
        self.wrong_tokens = 0
        self._node_up = False
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    async def render(self, node: NodeClient) -> bytes:
        """All metrics as text; the node's are missing while it is down."""
        try:
            nodes = await node.metrics()
        except NodeDownError:
            nodes = b""
        self._node_up = bool(nodes)
        if nodes and not nodes.endswith(b"\n"):
            nodes += b"\n"
        return nodes + generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("throughway_control_up", "The control plane answers.", 1)
        yield GaugeMetricFamily("throughway_node_up", "The node's ops listener answers.", int(self._node_up))
        yield CounterMetricFamily(
            "throughway_control_wrong_tokens", "Requests that came with a wrong admin token.", self.wrong_tokens
        )
        answered = CounterMetricFamily(
            "throughway_control_requests", "Requests answered, by status.", labels=["status"]
        )
        for status, count in sorted(self.answered.items()):
            answered.add_metric([str(status)], count)
        yield answered
