"""`holdover copy`: a log in a file, copied into PostgreSQL. Must not know how what is copied is kept."""

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import click

from events import PostgresLog
from events._copying import copying
from statemachine.cli._command import OneLineCommand, file_path
from statemachine.cli._looking import looking, shown
from statemachine.cli._place import Server, schema_option, server
from statemachine.cli._show import console, note, plural, progress


@click.command(cls=OneLineCommand)
@click.argument("file", type=file_path, metavar="FILE.db")
@click.argument("place", type=server, metavar="ADDRESS")
@schema_option
def copy(file: Path, place: Server) -> None:
    """Copy the log FILE.db into the PostgreSQL database at ADDRESS (postgresql://user@host/database).

    A buffer goes on there as if nothing had happened, also with a snapshot in progress: offsets, versions, times,
    checkpoints and bounds are kept. Stop what writes to the file first. While it is copied it can be read, but not
    written; whoever tries waits, and then gets an error. What is written to it afterwards is not copied any more.

    Each user is copied as a whole or not at all. If that is interrupted, even killed, the same command goes on: who is
    there already, and is the same, is passed over. Who is there and differs is an error, and is left alone. At the
    end the users are compared: each has as many events, up to the same offset.

    Exit code: 0 if all users are there and the same, 2 if not.
    """
    users = events = earlier = 0
    with (
        looking(file),
        closing(place.log(PostgresLog[Any])) as log,
        copying(file, log) as under_way,
        progress() as bars,
    ):
        task = bars.add_task("Copying", total=under_way.length)
        for copied in under_way.run(partial(bars.advance, task)):
            users, events, earlier = users + 1, events + copied.events, earlier + copied.was_there
        under_way.check()
        where = shown(log)
    there = f" ({plural(earlier, 'user')} had been there already)" if earlier else ""
    line = f"{file.name}: {plural(users, 'user')}, {plural(events, 'event')}{there}; all the same in {where}"
    note(console(), line, "bold green")
