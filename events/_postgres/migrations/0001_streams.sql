-- The tables of a log. {schema} is the schema's quoted name.
--
-- The user id comes first in every key, and no statement of the log writes to two users, so each table can be
-- distributed, or partitioned by hash, by user_id (see the README).

CREATE TABLE {schema}.streams (
    user_id       text COLLATE "C" PRIMARY KEY,  -- escaped: \\ for a backslash, \x.. for what text cannot hold
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    start         bigint NOT NULL DEFAULT 0,     -- the first offset that is kept
    head          bigint NOT NULL,               -- the offset that the next event will get; 0 for none so far
    granted_from  bigint NOT NULL,               -- the head after the last append
    checkpointed  bigint NOT NULL DEFAULT 0,     -- the offset of the latest checkpoint, or 0
    fence         integer NOT NULL DEFAULT 0,    -- adds must name it; it goes up where one's fate had to be found out
    issuer        bytea NOT NULL,                -- who gave the grant
    full_at       bigint NOT NULL,               -- the offset up to which the grant allows measurements
    opens_to      bigint NOT NULL,               -- the same once the arrival of the first was noted
    evicts_to     bigint NOT NULL,               -- the offset up to which each add evicts the next victim
    victim        bigint NOT NULL,               -- the first of them,
    victim_step   bigint NOT NULL,               -- and how far apart they are
    until         double precision,              -- seconds, as all times of the buffer's clock
    arrived_at    double precision,
    due_at        double precision,
    due_after     double precision,
    due_since     timestamptz,                   -- among streams of the same due_at, the earliest waits longest
    shelved_since timestamptz,
    claimed_until double precision,              -- up to when a worker that asked who is due has it to itself
    truncated_at  timestamptz                    -- when history was last dropped
) WITH (fillfactor = 70);                        -- most updates change no index; they find room on the same page

CREATE INDEX streams_in_order ON {schema}.streams (created_at, user_id);
CREATE INDEX streams_overdue ON {schema}.streams (until) WHERE until IS NOT NULL;
CREATE INDEX streams_due ON {schema}.streams (due_at, due_since) WHERE due_at IS NOT NULL;
CREATE INDEX streams_shelved ON {schema}.streams (shelved_since) WHERE shelved_since IS NOT NULL;

CREATE TABLE {schema}.events (
    user_id     text COLLATE "C" NOT NULL,
    "offset"    bigint NOT NULL,
    kind        text,                            -- the event's type; null for a measurement, '-' for one eviction
    token       bigint,                          -- tells an add from all others, should its answer get lost
    arrived_at  double precision,                -- of a measurement, where it was noted
    recorded_at double precision,                -- where somebody noted it
    data        bytea NOT NULL,
    PRIMARY KEY (user_id, "offset")
);

CREATE TABLE {schema}.checkpoints (
    user_id  text COLLATE "C" NOT NULL,
    "offset" bigint NOT NULL,
    data     bytea NOT NULL,
    PRIMARY KEY (user_id, "offset")
);
