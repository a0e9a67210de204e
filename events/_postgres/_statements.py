"""The statements of a log in PostgreSQL, each for one user. Must not know connections, or when to use which."""

from attrs import frozen

from events._log import HORIZON
from events._postgres._quick import Quick

TABLES = ("events", "checkpoints", "streams")

_OPENING = """
    full_at = CASE WHEN head < opens_to THEN opens_to ELSE full_at END,
    opens_to = CASE WHEN head < opens_to THEN 0 ELSE opens_to END,
    arrived_at = CASE WHEN head < opens_to THEN %(now)s::float8 ELSE arrived_at END,
    due_at = CASE WHEN head < opens_to AND due_after IS NOT NULL THEN %(now)s::float8 + due_after ELSE due_at END,
    due_since = CASE WHEN head < opens_to AND due_after IS NOT NULL THEN statement_timestamp() ELSE due_since END
"""
"""What the first measurement within a grant that notes arrivals changes."""

_GRANTED = """
    user_id = %(user_id)s AND issuer = %(issuer)s AND fence = %(fence)s::int8
    AND (until IS NULL OR %(now)s::float8 < until)
"""

_REFUSED = """
    UNION ALL
    SELECT NULL, fence, NULL FROM {schema}.streams WHERE user_id = %(user_id)s AND NOT EXISTS (SELECT 1 FROM stream)
"""
"""The fence, where nothing was added."""

_ADD = (
    """
    WITH stream AS (
        UPDATE {schema}.streams SET head = head + 1 WHERE """
    + _GRANTED
    + """ AND head < full_at
        RETURNING user_id, head, full_at
    ), added AS (
        INSERT INTO {schema}.events (user_id, "offset", token, data)
        SELECT user_id, head - 1, %(token)s::int8, %(data)s::bytea FROM stream
    )
    SELECT head - 1, full_at FROM stream
    """
)

_ADD_ANYHOW = (
    """
    WITH stream AS (
        UPDATE {schema}.streams
        SET head = head + CASE WHEN head < full_at OR head < opens_to THEN 1 ELSE 2 END, """
    + _OPENING
    + " WHERE "
    + _GRANTED
    + """
            AND (head < full_at OR (head < opens_to AND %(now)s::float8 IS NOT NULL)
                OR (head < evicts_to AND NOT head < opens_to))
        RETURNING user_id, head, granted_from, full_at, arrived_at, due_at, victim, victim_step
    ), added AS (
        INSERT INTO {schema}.events (user_id, "offset", token, arrived_at, data)
        SELECT
            user_id, CASE WHEN head > full_at THEN head - 2 ELSE head - 1 END, %(token)s::int8,
            CASE WHEN head = granted_from + 1 THEN arrived_at END, %(data)s::bytea
        FROM stream
    ), evicted AS (
        INSERT INTO {schema}.events (user_id, "offset", kind, data)
        SELECT user_id, head - 1, '-', int8send(victim + victim_step * ((head - 2 - granted_from) / 2))
        FROM stream WHERE head > full_at
    )
    SELECT CASE WHEN head > full_at THEN head - 2 ELSE head - 1 END, full_at, {soon} FROM stream"""
    + _REFUSED
)

_ADD_MANY = (
    """
    WITH stream AS (
        UPDATE {schema}.streams SET head = head + %(count)s::int8, """
    + _OPENING
    + " WHERE "
    + _GRANTED
    + """
            AND (head + %(count)s::int8 <= full_at
                OR (head + %(count)s::int8 <= opens_to AND %(now)s::float8 IS NOT NULL))
        RETURNING user_id, head - %(count)s::int8 AS first, head, granted_from, full_at, arrived_at, due_at
    ), added AS (
        INSERT INTO {schema}.events (user_id, "offset", token, arrived_at, data)
        SELECT
            user_id, first + place - 1, CASE WHEN place = 1 THEN %(token)s::int8 END,
            CASE WHEN place = 1 AND first = granted_from THEN arrived_at END, data
        FROM stream, unnest(%(data)s::bytea[]) WITH ORDINALITY AS batch (data, place)
    )
    SELECT first, full_at, {soon} FROM stream"""
    + _REFUSED
)

_FENCE_OFF = """
    INSERT INTO {schema}.streams
        (user_id, head, granted_from, fence, issuer, full_at, opens_to, evicts_to, victim, victim_step)
    VALUES (%(user_id)s, 0, 0, 1, '', 0, 0, 0, 0, 1)
    ON CONFLICT (user_id) DO UPDATE SET fence = streams.fence + 1
    RETURNING fence, extract(epoch FROM clock_timestamp() - truncated_at)::float8
"""
"""Also for a stream that is not there yet: a row with no head says that what comes late must not make it."""

_FIND_TOKEN = """
    SELECT "offset" FROM {schema}.events
    WHERE user_id = %(user_id)s AND "offset" >= %(least)s::int8 AND token = %(token)s::int8
"""

_GRANT = {
    "issuer": "%(issuer)s::bytea",
    "full_at": "%(full_at)s::int8",
    "opens_to": "%(opens_to)s::int8",
    "evicts_to": "%(evicts_to)s::int8",
    "victim": "%(victim)s::int8",
    "victim_step": "%(victim_step)s::int8",
    "until": "%(until)s::float8",
    "arrived_at": "NULL::float8",
    "due_at": "%(due_at)s::float8",
    "due_after": "%(due_after)s::float8",
    "due_since": """CASE
        WHEN %(due_at)s::float8 IS NULL THEN NULL
        WHEN {streams}due_at = %(due_at)s::float8 THEN {streams}due_since
        ELSE statement_timestamp() END""",
    "shelved_since": "CASE WHEN %(shelved)s::bool THEN coalesce({streams}shelved_since, statement_timestamp()) END",
    "claimed_until": "NULL::float8",
}
"""What an append sets anew, and to what."""

_RECORDED = """
    recorded AS (
        INSERT INTO {schema}.events (user_id, "offset", token, kind, arrived_at, recorded_at, data)
        SELECT
            user_id, %(expected_head)s::int8 + place - 1, CASE WHEN place = 1 THEN %(token)s::int8 END,
            kind, arrived_at, CASE WHEN kind IS NOT NULL THEN %(at)s::float8 END, data
        FROM stream,
            unnest(%(kinds)s::text[], %(arrivals)s::float8[], %(data)s::bytea[]) WITH ORDINALITY
            AS batch (kind, arrived_at, data, place)
    )
    SELECT checkpointed FROM stream
"""

_APPEND = (
    """
    WITH stream AS (
        UPDATE {schema}.streams SET head = %(head)s::int8, granted_from = %(head)s::int8, """
    + ", ".join(f"{name} = {value.replace('{streams}', '')}" for name, value in _GRANT.items())
    + """
        WHERE user_id = %(user_id)s AND head = %(expected_head)s::int8 AND fence = %(fence)s::int8
        RETURNING user_id, head, checkpointed
    ), """
    + _RECORDED
)

_CREATE = (
    "WITH stream AS (INSERT INTO {schema}.streams AS streams (user_id, head, granted_from, "
    + ", ".join(_GRANT)
    + ") SELECT %(user_id)s, %(head)s::int8, %(head)s::int8, "
    + ", ".join(value.replace("{streams}", "none.") for value in _GRANT.values())
    + """
        FROM (SELECT NULL::float8 AS due_at, NULL::timestamptz AS due_since, NULL::timestamptz AS shelved_since) AS none
        ON CONFLICT (user_id) DO UPDATE SET created_at = excluded.created_at, head = excluded.head,
            granted_from = excluded.granted_from, """
    + ", ".join(f"{name} = excluded.{name}" for name in _GRANT)
    + """
        WHERE streams.head = 0 AND streams.fence = %(fence)s::int8
        RETURNING user_id, head, checkpointed
    ), """
    + _RECORDED
)

_KEEP = """
    WITH stream AS (
        UPDATE {schema}.streams SET checkpointed = greatest(checkpointed, %(offset)s::int8)
        WHERE user_id = %(user_id)s AND start <= %(offset)s::int8
        RETURNING user_id
    )
    INSERT INTO {schema}.checkpoints (user_id, "offset", data) SELECT user_id, %(offset)s::int8, %(data)s FROM stream
    ON CONFLICT (user_id, "offset") DO UPDATE SET data = excluded.data
"""

_TRUNCATE = """
    WITH stream AS (
        UPDATE {schema}.streams
        SET start = %(before)s::int8, checkpointed = greatest(checkpointed, %(before)s::int8),
            truncated_at = clock_timestamp()
        WHERE user_id = %(user_id)s AND start < %(before)s::int8 AND head >= %(before)s::int8
        RETURNING user_id
    ), events AS (
        DELETE FROM {schema}.events AS old USING stream
        WHERE old.user_id = %(user_id)s AND old.user_id = stream.user_id AND old."offset" < %(before)s::int8
    ), checkpoints AS (
        DELETE FROM {schema}.checkpoints AS old USING stream
        WHERE old.user_id = %(user_id)s AND old.user_id = stream.user_id AND old."offset" < %(before)s::int8
    )
    INSERT INTO {schema}.checkpoints (user_id, "offset", data) SELECT user_id, %(before)s::int8, %(data)s FROM stream
    ON CONFLICT (user_id, "offset") DO UPDATE SET data = excluded.data
    RETURNING "offset"
"""

_UNCLAIMED = "(claimed_until IS NULL OR claimed_until <= %(now)s::float8)"

_CANDIDATES = (
    """
    (SELECT true, user_id FROM {schema}.streams WHERE due_at = '-infinity' AND """
    + _UNCLAIMED
    + """ ORDER BY due_since LIMIT %(limit)s::int8)
    UNION ALL
    (SELECT false, user_id FROM {schema}.streams
        WHERE due_at > '-infinity' AND due_at <= %(now)s::float8 AND """
    + _UNCLAIMED
    + """ ORDER BY due_at, due_since LIMIT %(limit)s::int8)
    """
)
"""Who might be claimed: those who are due at once, and those whose time has come."""

_CLAIM = (
    """
    UPDATE {schema}.streams SET claimed_until = %(until)s::float8
    WHERE user_id = %(user_id)s AND user_id IN (
        SELECT user_id FROM {schema}.streams WHERE user_id = %(user_id)s AND due_at <= %(now)s::float8 AND """
    + _UNCLAIMED
    + """
        FOR UPDATE SKIP LOCKED)
    RETURNING user_id
    """
)
"""Who is held by somebody just now stays due and unclaimed, so that the next look comes soon."""

_NEXT_DUE = """
    SELECT
        least(
            (SELECT min(due_at) FROM {schema}.streams WHERE due_at > %(now)s::float8),
            (SELECT min(greatest(claimed_until, %(now)s::float8)) FROM {schema}.streams
                WHERE due_at <= %(now)s::float8)
        ),
        extract(epoch FROM clock_timestamp())::float8
"""

_POSITION = """
    SELECT start, head, granted_from, arrived_at, fence, extract(epoch FROM clock_timestamp())::float8
    FROM {schema}.streams WHERE user_id = %(user_id)s AND head > 0
"""

_STANDS = "SELECT head, fence FROM {schema}.streams WHERE user_id = %(user_id)s"
"""Also of a stream that has no event yet."""

_EVENTS = """
    SELECT "offset", kind, arrived_at, data FROM {schema}.events
    WHERE user_id = %(user_id)s AND "offset" >= %(start)s::int8 AND "offset" < %(stop)s::int8 {condition}
    ORDER BY "offset" LIMIT %(limit)s::int8
"""

_CHECKPOINT = """
    SELECT start, "offset", data
    FROM {schema}.streams LEFT JOIN LATERAL (
        SELECT "offset", data FROM {schema}.checkpoints
        WHERE user_id = %(user_id)s AND "offset" >= start AND "offset" <= coalesce(%(at)s::int8, head)
        ORDER BY "offset" DESC LIMIT 1
    ) AS checkpoint ON true
    WHERE user_id = %(user_id)s AND head > 0
"""

_RECORDED_BEFORE = """
    SELECT coalesce(
        (SELECT max("offset") + 1 FROM {schema}.events
            WHERE user_id = %(user_id)s AND kind IS NOT NULL AND recorded_at < %(time)s::float8),
        start
    ) FROM {schema}.streams WHERE user_id = %(user_id)s AND head > 0
"""

_TIMES = """
    SELECT "offset", recorded_at FROM {schema}.events
    WHERE user_id = %(user_id)s AND "offset" >= %(start)s::int8 AND "offset" < %(stop)s::int8
        AND recorded_at IS NOT NULL
    ORDER BY "offset"
"""

_STREAMS = """
    SELECT created_at::text, user_id FROM {schema}.streams
    WHERE (created_at, user_id) > (%(created_at)s::timestamptz, %(user_id)s) AND head > 0
    ORDER BY created_at, user_id LIMIT %(limit)s::int8
"""


@frozen
class Statements:
    """All statements, with the names of one schema in them."""

    add: Quick
    add_anyhow: Quick
    add_many: Quick
    fence_off: str
    find_token: str
    append: Quick
    create: Quick
    keep: str
    truncate: str
    candidates: str
    claim: str
    notify: str
    position: str
    stands: str
    events: str
    controls: str
    checkpoint: str
    recorded_before: str
    times: str
    streams: str
    overdue: str
    due: str
    next_due: str
    shelved: str
    identity: str
    time: str
    vacuum: tuple[str, ...]
    channel: str


def statements(schema: str, *, notifies: bool) -> Statements:
    """The statements for a schema.

    Parameters:
        schema: its name.
        notifies: whether those who listen are to be told of who becomes due.

    Example:
        >>> statements("holdover", notifies=True).shelved
        'SELECT user_id FROM "holdover".streams WHERE shelved_since IS NOT NULL ORDER BY shelved_since'
    """
    quoted = quoted_name(schema)
    soon = f"CASE WHEN {{when}} AND due_at <= arrived_at + {HORIZON} THEN 1 ELSE 0 END"

    def made(template: str, when: str = "", **parts: str) -> str:
        return template.format(schema=quoted, soon=soon.format(when=when), **parts)

    from_streams = f"FROM {quoted}.streams WHERE"
    return Statements(
        add=Quick(b"holdover_add", made(_ADD)),
        add_anyhow=Quick(b"holdover_add_anyhow", made(_ADD_ANYHOW, "head = granted_from + 1")),
        add_many=Quick(b"holdover_add_many", made(_ADD_MANY, "first = granted_from")),
        fence_off=made(_FENCE_OFF),
        find_token=made(_FIND_TOKEN),
        append=Quick(b"holdover_append", made(_APPEND)),
        create=Quick(b"holdover_create", made(_CREATE)),
        keep=made(_KEEP),
        truncate=made(_TRUNCATE),
        candidates=made(_CANDIDATES),
        claim=made(_CLAIM),
        notify=f"SELECT pg_notify('{schema}', '')" if notifies else "",
        position=made(_POSITION),
        stands=made(_STANDS),
        events=made(_EVENTS, condition=""),
        controls=made(_EVENTS, condition="AND (kind IS NOT NULL OR arrived_at IS NOT NULL)"),
        checkpoint=made(_CHECKPOINT),
        recorded_before=made(_RECORDED_BEFORE),
        times=made(_TIMES),
        streams=made(_STREAMS),
        overdue=f"SELECT user_id {from_streams} until <= %(now)s::float8",
        due=f"SELECT user_id {from_streams} due_at <= %(now)s::float8 ORDER BY due_at, due_since",
        next_due=made(_NEXT_DUE),
        shelved=f"SELECT user_id {from_streams} shelved_since IS NOT NULL ORDER BY shelved_since",
        identity=f"SELECT identity::text FROM {quoted}.log",
        time="SELECT extract(epoch FROM clock_timestamp())::float8",
        vacuum=tuple(
            f"VACUUM (SKIP_LOCKED, TRUNCATE false) {quoted}.{table}" for table in ("events", "checkpoints", "streams")
        ),
        channel=schema,
    )


def quoted_name(name: str) -> str:
    """A name as an identifier in a statement.

    Example:
        >>> quoted_name('holdover')
        '"holdover"'
    """
    return '"' + name.replace('"', '""') + '"'
