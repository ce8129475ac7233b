"""What lies in the database: our tables and procrastinate's, side by side in a schema of our own.

Both are brought up to date when a store is opened, in one transaction and under one lock, so
that any number of processes may start at once.  Names and texts that anybody may choose are
kept as bytes (UTF-8): PostgreSQL's own texts cannot hold a NUL, and are sorted by language.
"""

import asyncio
from importlib import resources
from typing import Any, Final, LiteralString, cast

import psycopg
from psycopg import sql

from interlock.errors import StoreError, StoreTooNew
from interlock_adapters.postgres._pool import Connection, Place, Pool, Unreachable

#: Seconds that a migration may take, and the wait for somebody else's.
MIGRATION_S: Final = 600.0

_FIRST: Final[LiteralString] = """
CREATE TABLE task (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id bytea NOT NULL UNIQUE,
    owner bytea NOT NULL,
    context_id bytea NOT NULL,
    shown text NOT NULL,
    phase text NOT NULL,
    seq bigint NOT NULL,
    updated_at float8 NOT NULL,
    due float8,
    snapshot bytea NOT NULL,
    chain bytea NOT NULL
);
CREATE INDEX task_page ON task (updated_at, task_id);
CREATE INDEX task_owner ON task (owner, updated_at, task_id);
CREATE INDEX task_due ON task (due, task_id) WHERE due IS NOT NULL;
-- By name, so that those are none of them that wait in a phase of which this version has
-- never heard.
CREATE INDEX task_at_work ON task (task_id)
    WHERE phase IN ('submitted', 'running', 'cancelling',
                    'completed', 'failed', 'cancelled', 'timed_out', 'rejected');
CREATE INDEX task_open ON task (owner)
    WHERE shown NOT IN ('completed', 'failed', 'cancelled', 'timed_out', 'rejected');
CREATE INDEX task_finalized ON task (updated_at, task_id) WHERE phase = 'finalized';

CREATE TABLE event (
    task bigint NOT NULL REFERENCES task (n) ON DELETE CASCADE,
    seq bigint NOT NULL,
    at float8 NOT NULL,
    epoch bigint NOT NULL,
    trigger text NOT NULL,
    source text,
    dest text NOT NULL,
    actor bytea NOT NULL,
    data bytea NOT NULL,
    chain bytea NOT NULL,
    -- Of the commit that brought it: whoever lost the answer looks for it.
    commit_id bigint NOT NULL,
    PRIMARY KEY (task, seq)
);

CREATE TABLE claim (
    owner bytea NOT NULL,
    token bytea NOT NULL,
    task bigint NOT NULL REFERENCES task (n) ON DELETE CASCADE,
    digest bytea NOT NULL,
    PRIMARY KEY (owner, token)
);
CREATE INDEX claim_task ON claim (task);

CREATE TABLE watch (
    task bigint NOT NULL REFERENCES task (n) ON DELETE CASCADE,
    watch_id bytea NOT NULL,
    channel bytea NOT NULL,
    config bytea NOT NULL,
    cursor bigint NOT NULL,
    attempts bigint NOT NULL,
    not_before float8 NOT NULL,
    given_up bytea,
    -- Whether it is alive and has not seen all: kept, so that nobody has to look for it.
    behind boolean NOT NULL,
    PRIMARY KEY (task, watch_id)
);
CREATE INDEX watch_behind ON watch (task, watch_id) WHERE behind;

-- Commits whose answer was lost, and of which it was said that they were not made.
CREATE TABLE voided (
    commit_id bigint PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now()
);

-- procrastinate looks for other jobs of the same lock with each job that it fetches.
CREATE INDEX interlock_jobs_lock ON procrastinate_jobs (lock) WHERE status IN ('todo', 'doing');

-- One commit.  Returns 1 if it was made, 2 if the task has watches besides, and 0 if the task is
-- somewhere else: then nothing was written.
-- Raises IL001 if a token is taken, IL002 if the commit is void.
CREATE FUNCTION commit_v1(
    p_commit bigint, p_expected bigint, p_task_id bytea, p_owner bytea, p_context_id bytea,
    p_shown text, p_phase text, p_seq bigint, p_updated_at float8, p_due float8,
    p_snapshot bytea,
    e_at float8[], e_epoch bigint[], e_trigger text[], e_source text[], e_dest text[],
    e_actor bytea[], e_data bytea[], e_digest bytea[],
    c_owner bytea[], c_token bytea[], c_digest bytea[],
    w_id bytea[], w_channel bytea[], w_config bytea[], w_cursor bigint[], w_attempts bigint[],
    w_not_before float8[], w_given_up bytea[],
    j_lock text, j_args jsonb, j_priority int, j_at float8
) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_n bigint;
    v_seq bigint;
    v_chain bytea;
    v_chains bytea[] := '{}';
    v_digest bytea;
    v_claims bigint;
BEGIN
    -- Whoever decides about this commit waits here for its end, or it waits for the decision.
    PERFORM pg_advisory_xact_lock(p_commit);
    IF EXISTS (SELECT FROM voided WHERE commit_id = p_commit) THEN
        RAISE EXCEPTION 'the commit is void' USING ERRCODE = 'IL002';
    END IF;
    IF p_expected = 0 THEN
        v_chain := substr(sha256(p_task_id), 1, 16);
    ELSE
        SELECT n, seq, chain INTO v_n, v_seq, v_chain
            FROM task WHERE task_id = p_task_id FOR NO KEY UPDATE;
        IF v_seq IS DISTINCT FROM p_expected THEN
            RETURN 0;
        END IF;
    END IF;
    FOREACH v_digest IN ARRAY e_digest LOOP
        v_chain := substr(sha256(v_chain || v_digest), 1, 16);
        v_chains := v_chains || v_chain;
    END LOOP;
    IF p_expected = 0 THEN
        INSERT INTO task (task_id, owner, context_id, shown, phase, seq, updated_at, due,
                          snapshot, chain)
            VALUES (p_task_id, p_owner, p_context_id, p_shown, p_phase, p_seq, p_updated_at,
                    p_due, p_snapshot, v_chain)
            ON CONFLICT (task_id) DO NOTHING RETURNING n INTO v_n;
        IF v_n IS NULL THEN
            RETURN 0;
        END IF;
    ELSE
        UPDATE task SET shown = p_shown, phase = p_phase, seq = p_seq,
                        updated_at = p_updated_at, due = p_due, snapshot = p_snapshot,
                        chain = v_chain
            WHERE n = v_n;
        UPDATE watch SET behind = true WHERE task = v_n AND given_up IS NULL AND NOT behind;
    END IF;
    INSERT INTO event (task, seq, at, epoch, trigger, source, dest, actor, data, chain, commit_id)
        SELECT v_n, p_expected + i, at, epoch, trigger, source, dest, actor, data, chain, p_commit
        FROM unnest(e_at, e_epoch, e_trigger, e_source, e_dest, e_actor, e_data, v_chains)
            WITH ORDINALITY AS e (at, epoch, trigger, source, dest, actor, data, chain, i);
    IF cardinality(c_owner) > 0 THEN
        INSERT INTO claim (owner, token, task, digest)
            SELECT owner, token, v_n, digest
            FROM unnest(c_owner, c_token, c_digest) AS c (owner, token, digest)
            ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS v_claims = ROW_COUNT;
        IF v_claims < cardinality(c_owner) THEN
            RAISE EXCEPTION 'a token is taken' USING ERRCODE = 'IL001';
        END IF;
    END IF;
    IF cardinality(w_id) > 0 THEN
        PERFORM put_watches_v1(v_n, p_seq, w_id, w_channel, w_config, w_cursor, w_attempts,
                               w_not_before, w_given_up);
    END IF;
    IF j_lock IS NOT NULL THEN
        PERFORM want_turn_v1(j_lock, j_args, j_priority, j_at);
    END IF;
    RETURN CASE WHEN EXISTS (SELECT FROM watch WHERE task = v_n) THEN 2 ELSE 1 END;
END $$;

CREATE FUNCTION put_watches_v1(
    p_task bigint, p_seq bigint, w_id bytea[], w_channel bytea[], w_config bytea[],
    w_cursor bigint[], w_attempts bigint[], w_not_before float8[], w_given_up bytea[]
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO watch (task, watch_id, channel, config, cursor, attempts, not_before, given_up,
                       behind)
        SELECT p_task, id, channel, config, cursor, attempts, not_before, given_up,
               given_up IS NULL AND cursor < p_seq
        FROM unnest(w_id, w_channel, w_config, w_cursor, w_attempts, w_not_before, w_given_up)
            AS w (id, channel, config, cursor, attempts, not_before, given_up)
        ON CONFLICT (task, watch_id) DO UPDATE SET
            channel = excluded.channel, config = excluded.config, cursor = excluded.cursor,
            attempts = excluded.attempts, not_before = excluded.not_before,
            given_up = excluded.given_up, behind = excluded.behind
$$;

-- A job of procrastinate's, as its own `defer` would make it, in this transaction.
CREATE FUNCTION want_turn_v1(j_lock text, j_args jsonb, j_priority int, j_at float8)
RETURNS void LANGUAGE sql AS $$
    SELECT procrastinate_defer_jobs_v1(ARRAY[
        ROW('interlock', 'interlock.turn', j_priority, j_lock, NULL, j_args, to_timestamp(j_at))
        ::procrastinate_job_to_defer_v1])
$$;

-- A job in the place of one that was taken up: a new one, so that whoever has the old one and
-- wakes up late finds it gone, and can neither end the new one nor free its lock.  With
-- `p_dead_s` only if the worker that has it has been silent for so long.  Returns whether there
-- was one to be replaced.
CREATE FUNCTION replace_turn_v1(
    p_job bigint, p_args jsonb, p_priority int, p_at float8, p_dead_s float8
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_lock text;
    v_args jsonb;
    v_priority int;
BEGIN
    DELETE FROM procrastinate_jobs AS job
        WHERE id = p_job AND status = 'doing' AND (p_dead_s IS NULL OR NOT EXISTS (
            SELECT FROM procrastinate_workers AS worker WHERE worker.id = job.worker_id
            AND last_heartbeat >= clock_timestamp() - p_dead_s * interval '1 second'))
        RETURNING lock, args, priority INTO v_lock, v_args, v_priority;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM want_turn_v1(v_lock, coalesce(p_args, v_args), coalesce(p_priority, v_priority), p_at);
    RETURN true;
END $$;

-- Whether a commit was made whose answer was lost.  If not, it never will be: it is void.
CREATE FUNCTION decided_v1(p_commit bigint, p_task_id bytea, p_seq bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(p_commit);
    IF EXISTS (SELECT FROM task JOIN event ON event.task = task.n
               WHERE task_id = p_task_id AND event.seq = p_seq AND commit_id = p_commit) THEN
        RETURN true;
    END IF;
    DELETE FROM voided WHERE at < now() - interval '1 day';
    INSERT INTO voided (commit_id) VALUES (p_commit) ON CONFLICT DO NOTHING;
    RETURN false;
END $$;
"""

#: Said again after each change: procrastinate may have made the function anew.
_TUNE: Final[LiteralString] = """
-- Rows come and go there, so statistics are always wrong: left alone the planner sorts all jobs
-- for each that is fetched, also those that are to begin in a week.
ALTER TABLE procrastinate_jobs SET (autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 500, autovacuum_analyze_scale_factor = 0.05);
DO $$
DECLARE
    v_fetch regprocedure;
    v_way text;
BEGIN
    FOR v_fetch IN SELECT oid FROM pg_proc
        WHERE proname ~ '^procrastinate_fetch_job_v' AND pronamespace::regnamespace::text
            = quote_ident(current_schema())
    LOOP
        FOREACH v_way IN ARRAY ARRAY['sort', 'bitmapscan', 'seqscan', 'hashjoin', 'mergejoin'] LOOP
            EXECUTE format('ALTER FUNCTION %s SET enable_%s = off', v_fetch, v_way);
        END LOOP;
    END LOOP;
END $$;
"""

#: What brings the schema from version i to i + 1.  Entries are added and never changed.
MIGRATIONS: Final[tuple[LiteralString, ...]] = (_FIRST,)


def _queue_migrations() -> dict[str, bytes]:
    """The steps of procrastinate by name, in order; the last name is the version of its schema."""
    found = resources.files("procrastinate.sql").joinpath("migrations").iterdir()
    steps = {step.name.removesuffix(".sql"): step for step in found if step.name.endswith(".sql")}
    # They are as trusted as the package that they come with.
    return {name: step.read_text(encoding="utf-8").encode() for name, step in sorted(steps.items())}


def _queue_schema() -> bytes:
    """The whole schema of procrastinate, as of its last step."""
    whole = resources.files("procrastinate.sql").joinpath("schema.sql").read_text(encoding="utf-8")
    return whole.encode()


async def migrate(pool: Pool, *, create: bool) -> None:
    """Bring the schema up to date; does nothing where it is.

    Raises:
        StoreTooNew: a newer version of this package, or of procrastinate, made it.
        StoreError: it cannot be done, or it is not there and is not to be made; nothing was
            changed.
    """
    queue = await asyncio.to_thread(_queue_migrations)
    db = await pool.connect()
    try:
        async with asyncio.timeout(MIGRATION_S):
            if not await _is_current(db, pool.place.schema, queue):
                await _migrate(db, pool.place, queue, create=create)
    except StoreError:
        raise
    except (psycopg.Error, OSError, TimeoutError) as error:
        failed = pool.place.error(error, "its schema cannot be made")
        # Whoever opens a store is told at once, and does not wait for what must be repaired.
        is_away = isinstance(failed, Unreachable)
        raise (failed if is_away else StoreError(str(failed))) from None
    finally:
        await db.close()


async def _versions(db: Connection, schema: str) -> dict[str, str] | None:
    """The versions that are there, by part; None if nothing is."""
    # From the tables themselves: what `to_regclass` says may be older than this statement.
    found = await db.execute(
        "SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE nspname = %s AND relname = 'version'",
        (schema,),
    )
    if not found.rowcount:
        return None
    rows = await db.execute(
        sql.SQL("SELECT part, version FROM {}.version").format(sql.Identifier(schema))
    )
    return dict(cast("list[Any]", await rows.fetchall()))


async def _is_current(db: Connection, schema: str, queue: dict[str, bytes]) -> bool:
    """Whether nothing is to be done; raises StoreTooNew if it is newer than that."""
    there = await _versions(db, schema)
    if there is None:
        return False
    ours, queues = int(there["interlock"]), there["procrastinate"]
    newest = max(queue)
    if ours > len(MIGRATIONS):
        raise StoreTooNew(
            f"the database has schema {ours}, and this version knows up to {len(MIGRATIONS)}; "
            "upgrade the package"
        )
    if queues > newest:
        raise StoreTooNew(
            f"the database has procrastinate's schema {queues}, and the version here knows up to "
            f"{newest}; upgrade procrastinate"
        )
    return (ours, queues) == (len(MIGRATIONS), newest)


async def _migrate(db: Connection, place: Place, queue: dict[str, bytes], *, create: bool) -> None:
    """Take the lock, look again, and do the rest, all of it or nothing."""
    schema = place.schema
    name = sql.Identifier(schema)
    async with db.transaction():
        await db.execute("SET LOCAL statement_timeout = 0")
        await db.execute("SET LOCAL lock_timeout = 0")
        await db.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        await db.execute("SET LOCAL client_min_messages = warning")
        await db.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"interlock schema {schema}",)
        )
        if await _is_current(db, schema, queue):
            return  # Somebody else did it meanwhile.
        there = await _versions(db, schema)
        if there is None:
            if not create:
                raise StoreError(f"{place.shown}: there are no tasks in its schema {schema!r}")
            row = await db.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,))
            if not row.rowcount:
                await db.execute(sql.SQL("CREATE SCHEMA {}").format(name))
            await db.execute("CREATE TABLE version (part text PRIMARY KEY, version text NOT NULL)")
            await db.execute(_queue_schema())
            there = {"interlock": "0", "procrastinate": max(queue)}
        for step, theirs in queue.items():
            if step > there["procrastinate"]:
                await db.execute(theirs)
        for statements in MIGRATIONS[int(there["interlock"]) :]:
            await db.execute(statements)
        await db.execute(_TUNE)
        for part, version in (("interlock", str(len(MIGRATIONS))), ("procrastinate", max(queue))):
            await db.execute(
                "INSERT INTO version VALUES (%s, %s)"
                " ON CONFLICT (part) DO UPDATE SET version = excluded.version",
                (part, version),
            )
