"""A buffer's figures and a manager's replays in OpenTelemetry, seen by its own readers in memory."""

import gc
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from conftest import Clock, begun
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Histogram, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import statemachine.otel
from statemachine import InvalidArgumentError, ReplayBuffer, ReplayManager, ReplayResult
from statemachine._metrics import MOST_KINDS
from statemachine.otel import INSTRUMENTS, instrument, tracing

Traced = Callable[[str, int], AbstractContextManager[Callable[[ReplayResult], object]]]


class Collected:
    """A provider and its reader in memory."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def metrics(self) -> dict[str, Any]:
        """Each metric that a collection gives, by name."""
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        assert {scope.scope.name for scope in scopes} <= {"holdover"}
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self) -> dict[tuple[Any, ...], Any]:
        """The value, or the count and the sum, of each point, by name and attributes."""
        return {
            (name, *sorted(point.attributes.items())): (
                (point.count, point.sum) if isinstance(metric.data, Histogram) else point.value
            )
            for name, metric in self.metrics().items()
            for point in metric.data.data_points
        }


@pytest.fixture
def collected() -> Iterator[Collected]:
    collected = Collected()
    yield collected
    collected.provider.shutdown()


def eventful(buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """Something of everything, with a snapshot in progress at the end."""
    version = buffer.begin_snapshot("ann")
    clock.now += 2.0
    frozen = buffer.finalize_snapshot("ann", version)
    clock.now += 40.0
    frozen.complete()
    buffer.add_measurements("ann", [4, 5, 6, 7, 8, 9])
    begun(buffer).abort(repr(ValueError("bad window")))
    begun(buffer).abort("database is away")
    buffer.schedule_retry("ann", 500.0)
    buffer.begin_snapshot("ann")
    clock.now += 30.0
    buffer.expire_overdue()
    buffer.clear_buffer("ann", through=buffer.state("ann").oldest + 1)
    buffer.add_measurement("bob", 1)
    buffer.park("bob")
    buffer.begin_snapshot("ann")
    buffer.add_measurement("ann", 10)


def test_every_figure_is_an_instrument(collected: Collected, buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """What `metrics()` says is what the reader gets: counters, sizes, durations, aborts by `error.type`."""
    instrument(buffer, collected.provider)
    eventful(buffer, clock)
    assert collected.points() == {
        ("holdover.user.count",): 2,
        ("holdover.user.parked",): 1,
        ("holdover.user.aborting",): 0,
        ("holdover.measurement.live",): 6,
        ("holdover.measurement.pending",): 1,
        ("holdover.measurement.added",): 11,
        ("holdover.measurement.replayed",): 3,
        ("holdover.measurement.evicted",): 1,
        ("holdover.measurement.cleared",): 1,
        ("holdover.snapshot.in_progress",): 1,
        ("holdover.snapshot.begun",): 5,
        ("holdover.snapshot.expired",): 1,
        ("holdover.snapshot.aborted", ("error.type", "ValueError")): 1,
        ("holdover.snapshot.aborted", ("error.type", "database is away")): 1,
        ("holdover.replay.completed",): 1,
        ("holdover.replay.retries",): 1,
        ("holdover.replay.completion.age",): 30.0,
        ("holdover.snapshot.duration",): (3, 2.0),
        ("holdover.replay.duration",): (1, 40.0),
    }


def test_names_and_units_keep_the_conventions(collected: Collected, buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """Durations in seconds, counts in braces and singular, counters monotonic, buckets that fit replays."""
    instrument(buffer, collected.provider)
    eventful(buffer, clock)
    found = collected.metrics()
    assert {name: metric.unit for name, metric in found.items() if metric.unit == "s"} == dict.fromkeys(
        ["holdover.replay.completion.age", "holdover.replay.duration", "holdover.snapshot.duration"], "s"
    )
    for name, metric in found.items():
        assert metric.description.endswith("."), name
        assert not name.endswith("total"), name
        if metric.unit != "s":
            assert metric.unit in ("{user}", "{measurement}", "{snapshot}", "{replay}"), name
    monotonic = {name for name, metric in found.items() if getattr(metric.data, "is_monotonic", False)}
    assert monotonic == {each.name for each in INSTRUMENTS if each.kind == "counter"}
    bounds = found["holdover.replay.duration"].data.data_points[0].explicit_bounds
    assert {10.0, 60.0, 300.0} <= set(bounds)


def test_no_user_is_an_attribute(collected: Collected, clock: Clock) -> None:
    """A thousand users are as many points as one; and however many reasons there are, so many kinds."""
    buffer: ReplayBuffer[int] = ReplayBuffer(clock=clock)
    instrument(buffer, collected.provider)
    for number in range(1000):
        buffer.add_measurement(f"user-{number}", 1)
        buffer.begin_snapshot(f"user-{number}")
        buffer.abort_snapshot(f"user-{number}", f"reason {number}")
    points = collected.points()
    assert len(points) == len(INSTRUMENTS) - 2 + MOST_KINDS + 1  # no completion yet, so no age
    assert points["holdover.snapshot.aborted", ("error.type", "_OTHER")] == 1000 - MOST_KINDS
    assert points["holdover.user.count",] == 1000


def test_each_collection_reads_once(
    collected: Collected, buffer: ReplayBuffer[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading costs as much as there are users, so it is done once for all instruments, and anew each time."""
    reads: list[int] = []
    real = buffer.metrics
    monkeypatch.setattr(buffer, "metrics", lambda: (reads.append(1), real())[1])
    instrument(buffer, collected.provider)
    assert reads == []
    for times in (1, 2, 3):
        buffer.add_measurement("ann", times)
        assert collected.points()["holdover.measurement.added",] == 3 + times
        assert len(reads) == times


def test_instrumenting_twice_is_instrumenting_once(
    collected: Collected, buffer: ReplayBuffer[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is counted twice, nobody is warned; a second provider gets it all too."""
    other = Collected()
    for provider in (collected.provider, collected.provider, other.provider):
        instrument(buffer, provider)
    begun(buffer).complete()
    assert caplog.records == []
    assert collected.points() == other.points()
    assert collected.points()["holdover.replay.duration",] == (1, 0.0)
    other.provider.shutdown()


def test_buffers_are_told_apart_by_name(collected: Collected, clock: Clock) -> None:
    """Those of one name, or of none, are added up; their age is that of the latest completion."""
    buffers: list[ReplayBuffer[int]] = [ReplayBuffer(clock=clock) for _ in range(4)]
    for buffer, name in zip(buffers, ("", "", "scales", "scales"), strict=True):
        instrument(buffer, collected.provider, name=name)
        buffer.add_measurement("ann", 1)
        begun(buffer).complete()
        clock.now += 10.0
    points = collected.points()
    named = ("holdover.buffer.name", "scales")
    assert points["holdover.measurement.added",] == points["holdover.measurement.added", named] == 2
    assert points["holdover.replay.completion.age",] == 30.0
    assert points["holdover.replay.completion.age", named] == 10.0
    assert points["holdover.replay.duration",] == points["holdover.replay.duration", named] == (2, 0.0)


def test_a_closed_buffer_is_not_collected(collected: Collected, buffer: ReplayBuffer[Any]) -> None:
    """Closed before or after it was instrumented: there is nothing to say, and nothing goes wrong."""
    instrument(buffer, collected.provider)
    assert collected.points()["holdover.user.count",] == 1
    buffer.close()
    assert collected.points() == {}
    instrument(buffer, collected.provider)
    assert collected.points() == {}


def test_a_buffer_is_not_kept_alive(collected: Collected) -> None:
    """Who drops an instrumented buffer is rid of it."""
    buffer: ReplayBuffer[int] = ReplayBuffer()
    buffer.add_measurement("ann", 1)
    instrument(buffer, collected.provider)
    assert collected.points() != {}
    del buffer
    gc.collect()
    assert collected.points() == {}


def test_the_global_provider_is_the_default(
    collected: Collected, buffer: ReplayBuffer[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metrics and traces go where the application's others go."""
    exporter = InMemorySpanExporter()
    spans = TracerProvider(shutdown_on_exit=False)
    spans.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(metrics, "get_meter", collected.provider.get_meter)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: spans)
    instrument(buffer)
    with tracing()("ann", 1):
        pass
    assert collected.points()["holdover.user.count",] == 1
    assert [span.name for span in exporter.get_finished_spans()] == ["holdover.replay"]
    statemachine.otel._instrumented.pop(metrics)


@pytest.mark.parametrize(("buffer_like", "name"), [("buffer", ""), (None, ""), (ReplayBuffer(), 7)])
def test_what_cannot_be_instrumented_is_refused(buffer_like: Any, name: Any) -> None:
    """At once, and not on the first collection in some thread."""
    with pytest.raises(InvalidArgumentError, match=r"must be a (ReplayBuffer|string)"):
        instrument(buffer_like, name=name)


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing it without the extra names the extra; the rest of the library does not need it."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "statemachine.otel")
    with pytest.raises(ImportError, match=r"pip install 'holdover\[otel\]'"):
        importlib.import_module("statemachine.otel")


# Traces.


class Spans:
    """A tracer provider and the spans that have ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def spans() -> Spans:
    return Spans()


def managed(traced: Traced, result: ReplayResult, replay: Callable[[], object] = lambda: None) -> None:
    """A stand-in for the manager: enter, replay, tell the result, leave."""
    with traced(result.user_id, result.version) as told:
        replay()
        told(result)


def test_a_replay_is_a_span_in_which_the_applications_spans_nest(spans: Spans) -> None:
    """It has user, version, outcome and measurements, and is the current span while the replay runs."""
    tracer = spans.provider.get_tracer("application")

    def replay() -> None:
        with tracer.start_as_current_span("application.work"):
            pass

    managed(tracing(spans.provider), ReplayResult("ann", 3, "completed", 100), replay)
    (span,), (inner,) = spans.named("holdover.replay"), spans.named("application.work")
    assert dict(span.attributes or {}) == {
        "holdover.user_id": "ann",
        "holdover.version": 3,
        "holdover.outcome": "completed",
        "holdover.measurements": 100,
    }
    assert inner.parent == span.context
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "holdover"
    assert span.status.status_code is trace.StatusCode.UNSET
    assert span.events == ()
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_failed_replay_is_a_span_with_an_error(spans: Spans) -> None:
    """Status, exception, and the same `error.type` as the abort has among the metrics."""
    managed(tracing(spans.provider), ReplayResult("ann", 1, "failed", 5, error=ValueError("bad window")))
    (span,) = spans.named("holdover.replay")
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description == "bad window"
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert (span.attributes or {})["holdover.outcome"] == "failed"
    (event,) = span.events
    assert (event.attributes or {})["exception.message"] == "bad window"


def test_a_failure_without_an_exception_is_an_error_too(spans: Spans) -> None:
    """It is called by its outcome."""
    managed(tracing(spans.provider), ReplayResult("ann", 1, "stale"))
    (span,) = spans.named("holdover.replay")
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, "stale")
    assert (span.attributes or {})["error.type"] == "_OTHER"
    assert span.events == ()


def test_a_replay_that_ends_without_a_result_ends_its_span(spans: Spans) -> None:
    """Whatever passes through is raised on, and the span is over."""
    with pytest.raises(KeyboardInterrupt), tracing(spans.provider)("ann", 1):
        raise KeyboardInterrupt
    assert len(spans.named("holdover.replay")) == 1
    assert not trace.get_current_span().get_span_context().is_valid


def test_the_manager_traces_its_replays(spans: Spans, buffer: ReplayBuffer[Any]) -> None:
    """With the real manager: one span for each replay, with how it went."""
    fails = [True, False]

    def replay(frozen: Any) -> int:
        if fails.pop(0):
            raise OSError("the disk is full")
        return len(frozen)

    manager = ReplayManager(buffer, replay, tracing=tracing(spans.provider))
    manager.replay_user("ann")
    manager.replay_user("ann")
    failed, completed = spans.named("holdover.replay")
    assert (failed.attributes or {})["error.type"] == "OSError"
    assert list(buffer.metrics().aborted) == ["OSError"]
    assert (completed.attributes or {})["holdover.measurements"] == 3
