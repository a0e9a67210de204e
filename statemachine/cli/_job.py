"""One run of `holdover replay`: both passes over the file, and what came of them. Must not know options or screens."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from attrs import frozen
from rich.progress import Progress

from statemachine import BufferFullError, ReplayBuffer
from statemachine.cli._feeder import Feeder, config_for
from statemachine.cli._process import Judged, Process
from statemachine.cli._store import Store
from statemachine.cli._table import Row, Table
from statemachine.cli._times import TimeFormat, Times
from statemachine.cli._turn import Account, Due, Window

OpenStore = Callable[[], Store]


@frozen
class Outcome:
    """What came of a run.

    Attributes:
        accounts: what became of each user's rows.
        failures: the windows whose replay failed.
        stopped: why rows were left unread, or "".
        judged: the rows that the replays returned, in the order of the file's lines.
        times: the formats in which every time could be read; the first was taken.
        earlier: how many rows an earlier run had added.
        is_idle: whether nothing was left to do.
    """

    accounts: list[Account]
    failures: list[Window]
    stopped: str
    judged: list[Judged]
    times: list[TimeFormat]
    earlier: int = 0
    is_idle: bool = False

    @property
    def ok(self) -> bool:
        """Whether every row was replayed and is accounted for."""
        return not (self.failures or self.stopped or any(account.lost or account.findings for account in self.accounts))


def run(
    table: Table,
    times: Times,
    due: Due,
    process: Process,
    workers: int,
    progress: Progress,
    open_store: OpenStore | None = None,
) -> Outcome:
    """Check every row of the file, then feed them through a buffer with replays beside.

    Parameters:
        table: the file.
        times: the formats to choose among.
        due: when a user's replay is due.
        process: what a replay does.
        workers: how many replays may run at once.
        progress: where the two passes show how far they are.
        open_store: opens what the buffer is kept in; in memory if omitted.

    Raises:
        BadInput: a row cannot be read, or there is none. Nothing was replayed, unless the file changed meanwhile.
            Or what the buffer is kept in cannot be read or written; then the run can be continued.
    """
    reading = progress.add_task("Checking rows", total=table.size)
    rows = sum(1 for _ in table.rows(times.read, lambda done: progress.update(reading, completed=done)))
    progress.update(reading, completed=table.size)
    if not rows:
        raise table.bad("there are no rows below the header")
    config, reader = config_for(due.every), times.chosen()
    judged: list[Judged] = []
    if open_store is None:
        with ReplayBuffer[Row](config=config) as buffer, ThreadPoolExecutor(workers) as executor:
            feeder = Feeder(buffer, process, due, executor, judged.extend)
            accounts, stopped = _fed(table, reader, feeder, progress)
        judged.sort(key=lambda row: row.number)  # stable: what one window returned stays in its order
    else:
        with open_store() as store, store.buffer(config) as kept:
            with ThreadPoolExecutor(workers) as executor:
                feeder = Feeder(kept, store.saving(kept, process), due, executor, lambda _judged: None)
                feeder.resume(store.windows())
                accounts, stopped = _fed(table, reader, feeder, progress)
            judged = store.judged()
    return Outcome(accounts, feeder.failures, stopped, judged, times.fitting, feeder.earlier, feeder.is_idle)


def _fed(table: Table, times: Times, feeder: Feeder, progress: Progress) -> tuple[list[Account], str]:
    """Feed every row and replay what is left; what became of each user's, and why it stopped, as `_feed` says."""
    stopped = _feed(table, times, feeder, progress)
    ending = progress.add_task("Last windows", total=feeder.users)
    for _ in feeder.finish():
        progress.advance(ending)
    return list(feeder.accounts()), stopped


def _feed(table: Table, times: Times, feeder: Feeder, progress: Progress) -> str:
    """Feed every row; why it stopped before the end, or "" where it did not."""
    feeding = progress.add_task("Adding rows, replays beside", total=table.size)
    for row in table.rows(times.read, lambda done: progress.update(feeding, completed=done)):
        try:
            feeder.feed(row)
        except BufferFullError as error:
            return f"stopped at row {row.number}: {error}"
    progress.update(feeding, completed=table.size)
    return ""
