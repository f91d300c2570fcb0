"""The metrics as text: Prometheus' 0.0.4, or OpenMetrics 1.0 for whoever asks for that.

The registry is our own: nothing that a library registers for itself is served. Beside
`metrics` it has what Prometheus calls process metrics (memory, CPU, descriptors).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fetchd.pipeline.snapshot import Snapshot
from fetchd.web.metrics import METRICS, Kind, Metric

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
LONGEST_ACCEPT = 4096  # characters that are read of it
PROCESS = (  # what the library exposes of the process, for the documents
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
)


class Exposition:
    """Writes pages of metrics."""

    def __init__(self) -> None:
        from prometheus_client import ProcessCollector

        self._process = ProcessCollector(registry=None)

    def page(self, snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
        """The page in the form that an Accept header prefers, and its media type."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.openmetrics import exposition as openmetrics

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self._process)
        registry.register(_Collector(snapshot))
        if wants_open_metrics(accept):
            written: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
            return written, OPEN_METRICS
        return generate_latest(registry), TEXT


class _Collector:
    """What the library asks for the families."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> "Iterator[Family]":
        return (family(metric, self._snapshot) for metric in METRICS)

    def describe(self) -> "list[Family]":
        return []  # names are checked by the tests, not at each scrape


def family(metric: Metric, snapshot: Snapshot) -> "Family":
    """One metric's samples in the library's words."""
    from prometheus_client.metrics_core import Metric as Family

    counts = metric.kind is Kind.COUNTER
    name = metric.name.removesuffix("_total") if counts else metric.name
    made = Family(name, metric.meaning, metric.kind.value, metric.unit)
    for values, value in metric.read(snapshot):
        labels = dict(zip(metric.labels, values, strict=True))
        made.add_sample(metric.name, labels, float(value))
    return made


def wants_open_metrics(accept: str) -> bool:
    """Whether the header names OpenMetrics and prefers nothing that we would write instead.

    Read by hand: what a peer writes there is not worth an error.
    """
    weights: dict[str, float] = {}
    for kind, weight in map(_weight, accept[:LONGEST_ACCEPT].lower().split(",")):
        weights[kind] = max(weight, weights.get(kind, 0.0))
    wanted = weights.get("application/openmetrics-text", 0.0)
    return wanted > 0 and wanted >= max(weights.get(kind, 0.0) for kind in ("text/plain", "text/*"))


def _weight(item: str) -> tuple[str, float]:
    kind, *parameters = (part.strip() for part in item.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return kind, float(value)
            except ValueError:
                return kind, 0.0
    return kind, 1.0
