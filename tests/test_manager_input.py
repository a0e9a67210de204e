"""Bad input is refused when a manager is made."""

from typing import Any

import pytest
from managing import running

from statemachine import InvalidArgumentError, ReplayBuffer, ReplayManager

NOT_SECONDS = [0, -1, float("nan"), float("inf"), "1", True]
NOT_WHOLE = [0, -1, 1.0, "1", True]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("workers", value) for value in [*NOT_WHOLE, None]],
        *[("max_attempts", value) for value in NOT_WHOLE],
        *[("max_replay_time", value) for value in NOT_SECONDS],
        *[("poll_interval", value) for value in [*NOT_SECONDS, None]],
        *[(name, 1) for name in ("take_snapshot", "restore", "on_replay_complete", "on_result", "tracing", "chance")],
        ("replay", None),
        ("backoff", 1.0),
        ("buffer", {}),
    ],
)
def test_bad_input_is_refused_by_name(name: str, value: Any) -> None:
    """Workers < 1 and whatever else makes no sense is refused when the manager is made, and no thread is started."""
    given = {"buffer": ReplayBuffer(), "replay": sum, name: value}
    with pytest.raises(InvalidArgumentError, match=f"^{name} must be "):
        ReplayManager(**given)
    assert running() == []
