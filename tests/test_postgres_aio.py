"""`PostgresLog` on an event loop: who waits for the server waits in a thread; transactions of asyncio are joined."""

import asyncio
from typing import Any

import postgres
import psycopg
import pytest

from events import PostgresLog
from statemachine import BufferConfig, InvalidArgumentError, ReplayBuffer, StaleSnapshotError, due
from statemachine.aio import AsyncReplayBuffer, AsyncReplayManager

CONFIG = BufferConfig(due=due.Count(3))


def opened() -> PostgresLog[Any]:
    return PostgresLog(postgres.address(postgres.QUICK), schema=postgres.new_schema())


async def application(schema: str) -> "psycopg.AsyncConnection[Any]":
    connection = await psycopg.AsyncConnection.connect(postgres.address())
    await connection.execute(f"CREATE TABLE {schema}.results (user_id text, total int)")
    await connection.commit()
    return connection


async def saved(connection: "psycopg.AsyncConnection[Any]", schema: str) -> list[Any]:
    await connection.rollback()
    return await (await connection.execute(f"SELECT user_id, total FROM {schema}.results")).fetchall()


def test_a_transaction_of_asyncio_is_joined() -> None:
    """Results and completion are saved together when the coroutine commits, and not at all when it rolls back."""

    async def main() -> None:
        log = opened()
        async with AsyncReplayBuffer(log, CONFIG) as buffer, await application(log.schema) as connection:
            await buffer.add_measurements("ann", [1, 2, 3])
            version = await buffer.begin_snapshot("ann")
            frozen = await buffer.finalize_snapshot("ann", version)
            for commits in (False, True):
                total = sum([number async for number in frozen])
                await connection.execute(f"INSERT INTO {log.schema}.results VALUES ('ann', %s)", (total,))
                await frozen.complete(connection=connection)
                assert (await buffer.state("ann")).phase == "replaying"
                await (connection.commit if commits else connection.rollback)()
                assert (await buffer.state("ann")).phase == ("idle" if commits else "replaying")
                assert await saved(connection, log.schema) == [("ann", 6)] * commits
            assert await buffer.measurements("ann") == []

    asyncio.run(main())


def test_a_pipeline_of_asyncio_is_joined() -> None:
    """Where answers come later, too."""

    async def main() -> None:
        log = opened()
        async with AsyncReplayBuffer(log, CONFIG) as buffer, await application(log.schema) as connection:
            await buffer.add_measurements("ann", [1, 2, 3])
            frozen = await buffer.finalize_snapshot("ann", await buffer.begin_snapshot("ann"))
            async with connection.pipeline() as pipeline:
                await connection.execute(f"INSERT INTO {log.schema}.results VALUES ('ann', 6)")
                await pipeline.sync()
                await frozen.complete(connection=connection)
                await connection.commit()
            assert (await buffer.state("ann")).phase == "idle"
            assert await saved(connection, log.schema) == [("ann", 6)]

    asyncio.run(main())


def test_a_connection_of_asyncio_is_none_for_a_thread() -> None:
    """The buffer that waits by itself says which one can."""

    async def main() -> None:
        log = opened()
        with ReplayBuffer(log, CONFIG) as buffer:
            buffer.add_measurements("ann", [1, 2, 3])
            buffer.begin_snapshot("ann")
            frozen = buffer.finalize_snapshot("ann")
            async with await application(log.schema) as connection:
                with pytest.raises(InvalidArgumentError, match="by an AsyncReplayBuffer"):
                    frozen.complete(connection=connection)

    asyncio.run(main())


def test_a_stale_snapshot_leaves_the_transaction_to_be_rolled_back() -> None:
    """The refusal comes before anything is written, and the transaction can go on."""

    async def main() -> None:
        log = opened()
        async with AsyncReplayBuffer(log, CONFIG) as buffer, await application(log.schema) as connection:
            await buffer.add_measurement("ann", 1)
            frozen = await buffer.finalize_snapshot("ann", await buffer.begin_snapshot("ann"))
            await buffer.abort_snapshot("ann")
            await connection.execute(f"INSERT INTO {log.schema}.results VALUES ('ann', 1)")
            with pytest.raises(StaleSnapshotError):
                await frozen.complete(connection=connection)
            await connection.execute("SELECT 1")
            assert await saved(connection, log.schema) == []

    asyncio.run(main())


def test_what_fails_on_the_loop_fails_here_and_leaves_the_transaction_as_it_was() -> None:
    """A connection to another database is refused with words; what was written before can still be committed."""

    async def main() -> None:
        log, other = opened(), opened()
        async with AsyncReplayBuffer(log, CONFIG) as buffer, await application(other.schema) as connection:
            await buffer.add_measurement("ann", 1)
            await buffer.begin_snapshot("ann")
            await buffer.finalize_snapshot("ann")
            with pytest.raises(InvalidArgumentError, match="no open transaction"):
                await buffer.complete_replay("ann", connection=connection)
            await connection.execute(f"INSERT INTO {other.schema}.results VALUES ('ann', 1)")
            await connection.execute(f"DROP TABLE {log.schema}.log")
            with pytest.raises(InvalidArgumentError, match="not the log's"):
                await buffer.complete_replay("ann", connection=connection)
            await connection.execute("SELECT 1")
            assert await saved(connection, other.schema) == []
        other.close()

    asyncio.run(main())


def test_without_a_loop_an_async_connection_is_refused() -> None:
    """A plain buffer cannot wait for coroutines, and says who can."""

    async def main() -> None:
        log = opened()
        async with await application(log.schema) as connection:
            with ReplayBuffer(log, CONFIG) as buffer, pytest.raises(InvalidArgumentError, match="AsyncReplayBuffer"):
                buffer.add_measurement("ann", 1)
                buffer.complete_replay("ann", connection=connection)

    asyncio.run(main())


def test_a_manager_of_coroutines_replays_what_is_due() -> None:
    """Woken by the server: its poll interval is longer than anybody would wait."""

    async def main() -> None:
        log = opened()
        replayed: asyncio.Queue[Any] = asyncio.Queue()
        async with AsyncReplayBuffer(log, CONFIG) as buffer:

            async def replay(frozen: Any) -> None:
                replayed.put_nowait([number async for number in frozen])

            async with AsyncReplayManager(buffer, replay, poll_interval=10**6):
                elsewhere = ReplayBuffer(PostgresLog(postgres.address(), schema=log.schema), CONFIG)
                await asyncio.to_thread(elsewhere.add_measurements, "ann", [1, 2, 3])
                assert await asyncio.wait_for(replayed.get(), 60) == [1, 2, 3]
                elsewhere.close()

    asyncio.run(main())
