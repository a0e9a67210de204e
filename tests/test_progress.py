"""How a pass shows its progress."""

import sys
from threading import Thread
from typing import Any, ClassVar

import pytest
import rich.progress
from managing import Rig, fail

from statemachine import InvalidArgumentError
from statemachine._progress import shown


class Bar:
    """Stands in for rich's bar."""

    drawn: ClassVar[list[Any]] = []

    def __init__(self, **options: Any) -> None:
        assert options == {"transient": True}

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self.drawn.append("closed")

    def add_task(self, description: str, total: int) -> str:
        self.drawn.append((description, total))
        return "the task"

    def update(self, task: str, completed: int) -> None:
        self.drawn.append((task, completed))


def test_a_function_is_told_how_many_are_done_and_how_many_there_are() -> None:
    """One call for each user, counting upwards, also for those that fail, with several workers too."""
    calls: list[tuple[int, int]] = []
    rig = Rig(lambda frozen: fail() if frozen.user_id == "bob" else None, "ann", "bob", "eve", workers=2)
    rig.manager.replay_ready(progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_a_user_counts_once() -> None:
    """One whose abandoned replay comes to an end later is not counted again."""
    calls: list[int] = []
    with shown(lambda done, total: calls.append(done), 2) as advance:
        advance("ann")
        advance("ann")
        advance("bob")
    assert calls == [1, 2]


def test_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """With True a bar is drawn, moved, and closed at the end of the pass."""
    monkeypatch.setattr(rich.progress, "Progress", Bar)
    Bar.drawn.clear()
    Rig(sum, "ann", "bob").manager.replay_ready(progress=True)
    assert Bar.drawn == [("replaying", 2), ("the task", 1), ("the task", 2), "closed"]


def test_the_real_bar_bears_several_threads() -> None:
    """What stands in for it above is what it is: the same calls work on rich's own."""
    with shown(True, 2) as advance:
        others = [Thread(target=advance, args=(user,)) for user in ("ann", "bob")]
        for other in others:
            other.start()
        for other in others:
            other.join()
    assert Rig(sum, "ann").manager.replay_ready(progress=True)[0].ok


def test_a_bar_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar's dependency is optional: the error says what to install, and no replay has begun."""
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    rig = Rig(sum, "ann")
    with pytest.raises(InvalidArgumentError, match=r"needs rich: pip install 'holdover\[cli\]'"):
        rig.manager.replay_ready(progress=True)
    assert rig.buffer.state("ann").version == 0
    assert rig.manager.replay_ready()[0].ok


@pytest.mark.parametrize("progress", [None, 1, "bar"])
def test_progress_that_makes_no_sense(progress: Any) -> None:
    """It is refused before any replay has begun."""
    rig = Rig(sum, "ann")
    with pytest.raises(InvalidArgumentError, match="progress must be True, False or a function"):
        rig.manager.replay_ready(progress=progress)
    assert rig.buffer.state("ann").version == 0


def test_a_progress_function_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and every user is replayed all the same."""
    rig = Rig(sum, "ann", "bob")
    assert [result.ok for result in rig.manager.replay_ready(progress=fail)] == [True, True]
    assert caplog.text.count("showing the progress failed") == 2
