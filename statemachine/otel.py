"""A buffer's metrics and a manager's replays for OpenTelemetry. Must not count anything itself.

Needs the extra `otel`: pip install 'holdover[otel]'. Where the figures go (an exporter, a reader) is the application's
to set up with the OpenTelemetry SDK.

    instrument(buffer)
    manager = ReplayManager(buffer, replay, tracing=tracing())
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from attrs import frozen

from events import Event, ReplayCompleted, SnapshotFinalized
from statemachine import InvalidArgumentError, Metrics, ReplayBuffer, ReplayBufferError, ReplayResult
from statemachine._metrics import OTHER
from statemachine._observing import Occurrence
from statemachine._run import Tracing

try:
    from opentelemetry import metrics, trace
    from opentelemetry.util.types import AttributeValue
except ImportError as error:
    raise ImportError(
        f"statemachine.otel needs opentelemetry-api, which cannot be imported ({error}); "
        "install it with: pip install 'holdover[otel]'",
        name="opentelemetry",
    ) from error

__all__ = ["instrument", "tracing"]

SCOPE = "holdover"

ERROR_TYPE = "error.type"
BUFFER_NAME = "holdover.buffer.name"

BOUNDARIES = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Of the histograms' buckets, in seconds: replays of 10 to 60 s are normal, and a lease has 300."""


@frozen
class _Instrument:
    """What is read on collection: an observable `kind` of instrument, and which figure it shows."""

    name: str
    kind: str
    unit: str
    description: str
    figure: Callable[[Metrics], float | Mapping[str, int] | None]


# fmt: off
INSTRUMENTS = (
    _Instrument("holdover.user.count", "up_down_counter", "{user}",
                "Users that ever had a measurement.", lambda m: m.users),
    _Instrument("holdover.user.parked", "up_down_counter", "{user}",
                "Users whose replays failed too often, and wait to be released.", lambda m: m.parked),
    _Instrument("holdover.user.aborting", "up_down_counter", "{user}",
                "Users whose rollback is running or has failed.", lambda m: m.aborting),
    _Instrument("holdover.measurement.live", "up_down_counter", "{measurement}",
                "Measurements in the buffer, frozen and pending ones included.", lambda m: m.live),
    _Instrument("holdover.measurement.pending", "up_down_counter", "{measurement}",
                "Measurements that arrived since the freeze point of a snapshot in progress.", lambda m: m.pending),
    _Instrument("holdover.measurement.added", "counter", "{measurement}",
                "Measurements added.", lambda m: m.added),
    _Instrument("holdover.measurement.replayed", "counter", "{measurement}",
                "Measurements that completed replays have covered.", lambda m: m.replayed),
    _Instrument("holdover.measurement.evicted", "counter", "{measurement}",
                "Measurements evicted to keep buffers within their bounds.", lambda m: m.evicted),
    _Instrument("holdover.measurement.cleared", "counter", "{measurement}",
                "Measurements dropped by request.", lambda m: m.cleared),
    _Instrument("holdover.snapshot.in_progress", "up_down_counter", "{snapshot}",
                "Snapshots begun and neither completed, aborted nor expired.", lambda m: m.in_progress),
    _Instrument("holdover.snapshot.begun", "counter", "{snapshot}",
                "Snapshots begun.", lambda m: m.begun),
    _Instrument("holdover.snapshot.expired", "counter", "{snapshot}",
                "Snapshots that were overdue.", lambda m: m.expired),
    _Instrument("holdover.snapshot.aborted", "counter", "{snapshot}",
                "Snapshots aborted, by the kind of the reason.", lambda m: m.aborted),
    _Instrument("holdover.replay.completed", "counter", "{replay}",
                "Replays completed.", lambda m: m.completed),
    _Instrument("holdover.replay.retries", "counter", "{replay}",
                "Replays scheduled to be tried again.", lambda m: m.retries),
    _Instrument("holdover.replay.completion.age", "gauge", "s",
                "Time since the latest completed replay.", lambda m: m.seconds_since_completed),
)
# fmt: on


def instrument(
    buffer: ReplayBuffer[Any], meter_provider: metrics.MeterProvider | None = None, *, name: str = ""
) -> None:
    """Have a buffer's `metrics()` collected by OpenTelemetry, once for each collection.

    `holdover.replay.duration` and `holdover.snapshot.duration` are histograms; the others are read on collection, so
    adding costs nothing more. No user id is an attribute of a metric. Buffers of one name are added up, and their age
    is that of the latest completion. Several buffers on one log, in whatever processes, count what is in it several
    times each; do not add those up. The buffer is not kept alive, and once it is closed there is nothing to collect.
    Instrumenting it again does nothing.

    Parameters:
        buffer: the buffer.
        meter_provider: where to; the global one if omitted.
        name: to tell several buffers apart, as the attribute `holdover.buffer.name`; none if omitted.

    Raises:
        InvalidArgumentError: `buffer` is no `ReplayBuffer`, or `name` no string.

    Example:
        >>> from opentelemetry.sdk.metrics import MeterProvider
        >>> from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        >>> buffer, reader = ReplayBuffer(), InMemoryMetricReader()
        >>> instrument(buffer, MeterProvider([reader]))
        >>> offsets = buffer.add_measurements("ann", [81.5, 81.7])
        >>> shown = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
        >>> {metric.name: metric.data.data_points[0].value for metric in shown}["holdover.measurement.live"]
        2
    """
    if not isinstance(buffer, ReplayBuffer):
        raise InvalidArgumentError(f"buffer must be a ReplayBuffer, not {buffer!r}")
    if not isinstance(name, str):
        raise InvalidArgumentError(f"name must be a string, not {name!r}")
    provider: Any = metrics if meter_provider is None else meter_provider  # the module stands for the global one
    with _lock:
        if provider not in _instrumented:
            _instrumented[provider] = _Instrumented(provider.get_meter(SCOPE))
        _instrumented[provider].include(buffer, name)


class _Instrumented:
    """The buffers that are collected by one provider.

    An SDK takes an instrument of a name once, with one callback, so all buffers share theirs. It asks each instrument
    by itself: the first one that asks a second time has begun another collection.
    """

    def __init__(self, meter: metrics.Meter) -> None:
        self._lock = Lock()
        self._buffers: WeakKeyDictionary[ReplayBuffer[Any], str] = WeakKeyDictionary()
        self._reading: list[tuple[str, Metrics]] = []
        self._shown: set[str] = {each.name for each in INSTRUMENTS}
        for each in INSTRUMENTS:
            create = getattr(meter, f"create_observable_{each.kind}")
            create(each.name, [self._callback(each)], unit=each.unit, description=each.description)
        self._durations: dict[type[Event], metrics.Histogram] = {
            event: meter.create_histogram(
                f"holdover.{what}.duration", "s", description, explicit_bucket_boundaries_advisory=BOUNDARIES
            )
            for event, what, description in (
                (SnapshotFinalized, "snapshot", "Duration of snapshots, from begin to finalize."),
                (ReplayCompleted, "replay", "Duration of completed replays, from finalize to completion."),
            )
        }

    def include(self, buffer: ReplayBuffer[Any], name: str) -> None:
        """Collect this buffer too."""
        with self._lock:
            if buffer in self._buffers:
                return
            self._buffers[buffer] = name
        durations, attributes = self._durations, _attributes(name)

        def record(occurrence: Occurrence) -> None:
            if occurrence.seconds is not None:
                durations[type(occurrence.event)].record(occurrence.seconds, attributes)

        buffer._observe(record)

    def _callback(self, each: _Instrument) -> Callable[[metrics.CallbackOptions], list[metrics.Observation]]:
        def observe(_options: metrics.CallbackOptions) -> list[metrics.Observation]:
            return _observations(each, self._read(each.name))

        return observe

    def _read(self, instrument_name: str) -> list[tuple[str, Metrics]]:
        with self._lock:
            if instrument_name in self._shown:
                self._reading, self._shown = [], set()
                for buffer, name in list(self._buffers.items()):
                    try:
                        self._reading.append((name, buffer.metrics()))
                    except ReplayBufferError:  # it was closed
                        del self._buffers[buffer]
            self._shown.add(instrument_name)
            return self._reading


_lock = Lock()
_instrumented: WeakKeyDictionary[Any, _Instrumented] = WeakKeyDictionary()


def _observations(each: _Instrument, reading: list[tuple[str, Metrics]]) -> list[metrics.Observation]:
    """One figure of all buffers, those of a name together."""
    found: dict[tuple[str, str], float] = {}
    for name, figures in reading:
        figure = each.figure(figures)
        if figure is None:
            continue
        for kind, value in figure.items() if isinstance(figure, Mapping) else [("", figure)]:
            before = found.get((name, kind))
            together = min if each.kind == "gauge" else lambda *values: sum(values)
            found[name, kind] = value if before is None else together(before, value)
    return [metrics.Observation(value, _attributes(name, kind)) for (name, kind), value in found.items()]


def _attributes(name: str, kind: str = "") -> dict[str, str]:
    """What tells figures apart; `_OTHER` is the convention's word for whatever has no name of its own."""
    error_type = {ERROR_TYPE: "_OTHER" if kind == OTHER else kind} if kind else {}
    return error_type | ({BUFFER_NAME: name} if name else {})


def tracing(tracer_provider: trace.TracerProvider | None = None) -> Tracing:
    """What a `ReplayManager` takes as `tracing`: a span for each replay, in which the application's own spans nest.

    The span `holdover.replay` has the attributes `holdover.user_id`, `holdover.version`, `holdover.outcome` and
    `holdover.measurements`. One of a replay that was not completed has the status ERROR, the exception, and its class
    as `error.type`.

    Parameters:
        tracer_provider: where to; the global one if omitted.

    Example:
        >>> from statemachine import ReplayManager
        >>> buffer = ReplayBuffer()
        >>> offset = buffer.add_measurement("ann", 81.5)
        >>> ReplayManager(buffer, list, tracing=tracing()).replay_user("ann").value
        [81.5]
    """
    tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)

    @contextmanager
    def span_of(user_id: str, version: int) -> Iterator[Callable[[ReplayResult], object]]:
        attributes: dict[str, AttributeValue] = {"holdover.user_id": user_id, "holdover.version": version}
        with tracer.start_as_current_span("holdover.replay", attributes=attributes) as span:
            yield lambda result: _end(span, result)

    return span_of


def _end(span: trace.Span, result: ReplayResult) -> None:
    span.set_attributes({"holdover.outcome": result.outcome, "holdover.measurements": result.measurements})
    if result.ok:
        return
    span.set_status(trace.StatusCode.ERROR, str(result.error or result.outcome))
    span.set_attribute(ERROR_TYPE, "_OTHER" if result.error is None else type(result.error).__name__)
    if result.error is not None:
        span.record_exception(result.error)
