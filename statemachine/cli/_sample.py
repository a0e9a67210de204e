"""`holdover sample`: writes a small file of made-up heart rates, the same on every machine. Must not read anything."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from operator import itemgetter
from pathlib import Path
from random import Random

import click

from statemachine.cli._command import BadInput, OneLineCommand
from statemachine.cli._output import written

USERS = {"ann": 58, "ben": 66, "cleo": 71, "dan": 62, "eve": 75}
"""Each user's heart rate at rest, in beats per minute."""

SESSIONS = (6, 10, 15, 21)
"""The hours at which each of them wears the sensor."""

ROWS = 100
"""How many heart rates each session has."""

ABOVE_REST = {6: 4, 7: 10, 10: 22, 11: 26, 15: 18, 16: 24, 21: 8, 22: 3}
"""How much the hour of the day adds, in beats per minute."""

_MIDNIGHT = datetime(2024, 4, 22)  # a day that is no month, so that the dates can be read in one way only


@click.command(cls=OneLineCommand)
@click.argument("path", type=click.Path(path_type=Path, allow_dash=True), default="examples/heart_rate.csv")
def sample(path: Path) -> None:
    """Write a small CSV file of made-up heart rates to PATH (examples/heart_rate.csv, or - for standard output).

    It has 2,000 rows of 5 users, every 5 to 15 seconds, with some clear outliers, some rows that come late and some of
    the same time. It is the same on every machine.
    """
    if str(path) == "-":
        click.echo(sample_text(), nl=False)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from None
    with written(path) as file:
        file.write(sample_text())
    click.echo(f"Wrote {path}. Now try: holdover replay {path} --user User --time Time --value HeartRate")


def sample_text() -> str:
    """The whole file as text."""
    return "".join(f"{line}\n" for line in ("User,Time,HeartRate", *_lines()))


def _lines() -> Iterator[str]:
    random = Random(1984)
    rows = [row for user, rest in USERS.items() for hour in SESSIONS for row in _session(random, user, rest, hour)]
    rows.sort(key=itemgetter(0))  # in the order of arrival; of equal ones, as they were made
    return (f"{user},{_twelve_hours(time)},{rate}" for _arrival, user, time, rate in rows)


def _session(random: Random, user: str, rest: int, hour: int) -> Iterator[tuple[datetime, str, datetime, int]]:
    """Arrival, user, time and heart rate. Uses nothing but `random()`, whose numbers Python promises to keep."""

    def below(bound: int) -> int:
        return int(random.random() * bound)

    time = _MIDNIGHT + timedelta(hours=hour, seconds=below(600))
    drift = 0
    for _ in range(ROWS):
        drift = max(-6, min(6, drift + below(5) - 2))
        rate = rest + ABOVE_REST[time.hour] + drift + below(5) - 2
        if below(100) == 0:
            rate = (0, 24, 231, 244)[below(4)]  # the sensor slipped
        late = timedelta(seconds=60 + below(240)) if below(50) == 0 else timedelta()
        yield time + late, user, time, rate
        if below(60):  # else the next one has the same time
            time += timedelta(seconds=5 + below(11))


def _twelve_hours(time: datetime) -> str:
    """As in 4/22/2024 7:54:00 AM; written out, since `strftime` pads and knows local names."""
    hour = time.hour % 12 or 12
    half = "AM" if time.hour < 12 else "PM"
    return f"{time.month}/{time.day}/{time.year} {hour}:{time.minute:02}:{time.second:02} {half}"
