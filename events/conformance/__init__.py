"""`EventLogConformance`: what any log must pass, for authors of logs to subclass. Must not know any one log."""

import pytest

_PARTS = (
    "appending",
    "concurrency",
    "due",
    "grants",
    "joining",
    "keeping",
    "model",
    "reading",
    "reopening",
    "sharing",
    "truncation",
    "victims",
)
pytest.register_assert_rewrite(*(f"{__name__}._{part}" for part in _PARTS))  # so that failures show the values

from events.conformance._appending import Appending  # noqa: E402 - rewritten only if imported after that
from events.conformance._concurrency import Concurrency  # noqa: E402
from events.conformance._due import Due  # noqa: E402
from events.conformance._grants import Grants  # noqa: E402
from events.conformance._joining import Joining  # noqa: E402
from events.conformance._keeping import Keeping  # noqa: E402
from events.conformance._model import Model  # noqa: E402
from events.conformance._reading import Reading  # noqa: E402
from events.conformance._reopening import Reopening  # noqa: E402
from events.conformance._sharing import Sharing  # noqa: E402
from events.conformance._truncation import Truncation  # noqa: E402
from events.conformance._victims import Victims  # noqa: E402

__all__ = ["EventLogConformance"]


class EventLogConformance(
    Reading, Appending, Grants, Victims, Due, Sharing, Truncation, Keeping, Concurrency, Reopening, Joining, Model
):
    """The promises of `EventLog`, as tests. Subclass it in a test module, say how a log is made, and run pytest.

    It needs `pytest` and `hypothesis`. The hooks, of which only `make_log` must be given:

    * `make_log()`: a new and empty log.
    * `reopen(log)`: for durable logs, another log on what `log` keeps, which may be closed already or still be open.
    * `connect(log)`: for logs in a database, a connection to that with an open transaction.
    * `measurement(number)`: a measurement, another one for each number.
    * `state(number)`: a checkpoint's state, another one for each number.
    * `tells`: True where `waking` ever wakes.
    * `odd_measurements`, `own_events`: what must come back equal; fewer where the log's codec cannot take them all.

    Example:
        >>> from events import MemoryLog
        >>> class TestMemoryLog(EventLogConformance):
        ...     def make_log(self):
        ...         return MemoryLog()
    """
