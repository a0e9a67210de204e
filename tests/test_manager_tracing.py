"""What surrounds a replay: it is told the result, and changes nothing, whatever it does."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from managing import Rig, fail


@pytest.mark.parametrize(("replay", "outcome"), [(sum, "completed"), (fail, "failed")])
def test_tracing_surrounds_a_replay(replay: Any, outcome: str) -> None:
    """It is entered with user id and version before anything is called, told the result, and left."""
    seen: list[Any] = []

    @contextmanager
    def tracing(user_id: str, version: int) -> Iterator[Any]:
        seen.append((user_id, version))
        yield lambda result: seen.append(result.outcome)
        seen.append("left")

    rig = Rig(replay, "ann", tracing=tracing, take_snapshot=lambda user: seen.append("taken"))
    rig.manager.replay_user("ann")
    assert seen == [("ann", 1), "taken", outcome, "left"]


@pytest.mark.parametrize("place", ["call", "entry", "result", "exit"])
def test_tracing_that_raises_changes_nothing(place: str) -> None:
    """The replay completes all the same, and is told."""

    @contextmanager
    def traced() -> Iterator[Any]:
        if place == "entry":
            fail()
        yield fail if place == "result" else list
        if place == "exit":
            fail()

    def tracing(user_id: str, version: int) -> Any:
        return fail() if place == "call" else traced()

    rig = Rig(sum, "ann", tracing=tracing)
    assert rig.manager.replay_user("ann").ok
    assert rig.outcomes() == ["completed"]
