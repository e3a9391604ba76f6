"""Schema 6: pipelines with maps, environments, packages and what a run was made with."""

import json

from sqlalchemy import Connection, text

_RUN = (
    "package VARCHAR(80) NOT NULL DEFAULT ''",
    "environment VARCHAR(128) NOT NULL DEFAULT ''",
    "executor VARCHAR(64) NOT NULL DEFAULT ''",
    "priority INTEGER NOT NULL DEFAULT 0",
    "concurrency_group VARCHAR(250) NOT NULL DEFAULT ''",
    "concurrency_limit INTEGER NOT NULL DEFAULT 1",
    "audited BOOLEAN NOT NULL DEFAULT FALSE",
    "switches TEXT NOT NULL DEFAULT '{}'",
    "inputs TEXT NOT NULL DEFAULT '{}'",
    "packages VARCHAR(80) NOT NULL DEFAULT ''",
    "rerun_of VARCHAR(32)",
    "rerun_from TEXT NOT NULL DEFAULT '[]'",
    "notes TEXT NOT NULL DEFAULT '[]'",
    "gpu_s FLOAT NOT NULL DEFAULT 0",
    "peak_bytes BIGINT NOT NULL DEFAULT 0",
)
_STEP = (
    "executor VARCHAR(64) NOT NULL DEFAULT ''",
    "gpu_s FLOAT NOT NULL DEFAULT 0",
    "peak_bytes BIGINT NOT NULL DEFAULT 0",
    "undeclared TEXT NOT NULL DEFAULT '[]'",
    "items INTEGER NOT NULL DEFAULT 0",
    "items_done INTEGER NOT NULL DEFAULT 0",
    "items_cached INTEGER NOT NULL DEFAULT 0",
    "items_failed INTEGER NOT NULL DEFAULT 0",
    "changes TEXT NOT NULL DEFAULT '[]'",
    "compared_with VARCHAR(32)",
)
_ATTEMPT = ("peak_bytes BIGINT NOT NULL DEFAULT 0",)
_ITEM = (
    "CREATE TABLE step_item (step_run VARCHAR(32) NOT NULL, position INTEGER NOT NULL, project VARCHAR(32) NOT NULL,"
    " status VARCHAR(16) NOT NULL, attempts INTEGER NOT NULL, cache_key VARCHAR(80) NOT NULL, outputs TEXT NOT NULL,"
    " wall_s FLOAT NOT NULL, cpu_s FLOAT NOT NULL, peak_bytes BIGINT NOT NULL, error TEXT NOT NULL, log VARCHAR(80) NOT NULL,"
    " worker VARCHAR(250) NOT NULL, ended_at BIGINT, CONSTRAINT pk_step_item PRIMARY KEY (step_run, position))"
)
_DETAIL = (
    "CREATE TABLE cache_detail (project VARCHAR(32) NOT NULL, digest VARCHAR(80) NOT NULL, detail TEXT NOT NULL,"
    " CONSTRAINT pk_cache_detail PRIMARY KEY (project, digest))"
)
_REPORT = (
    "CREATE TABLE test_report (id VARCHAR(32) NOT NULL, project VARCHAR(32) NOT NULL, number INTEGER NOT NULL, outcome VARCHAR(16) NOT NULL,"
    " git_commit VARCHAR(64) NOT NULL, git_dirty BOOLEAN NOT NULL, code VARCHAR(80) NOT NULL, source VARCHAR(250) NOT NULL,"
    " created_at BIGINT NOT NULL, created_by VARCHAR(128) NOT NULL, wall_s FLOAT NOT NULL, counts TEXT NOT NULL, fingerprints TEXT NOT NULL,"
    " checks TEXT NOT NULL,"
    " CONSTRAINT pk_test_report PRIMARY KEY (id), CONSTRAINT uq_test_report_number UNIQUE (project, number))"
)
_JOB = (
    "lease_s FLOAT NOT NULL DEFAULT 30",
    "beats BIGINT NOT NULL DEFAULT 0",
    "concurrency_group VARCHAR(250) NOT NULL DEFAULT ''",
    "concurrency_limit INTEGER NOT NULL DEFAULT 1",
)
_SLOT = (
    "CREATE TABLE concurrency_slot (project VARCHAR(32) NOT NULL, name VARCHAR(260) NOT NULL, number INTEGER NOT NULL,"
    " job VARCHAR(32) NOT NULL, fence BIGINT NOT NULL, holder VARCHAR(32) NOT NULL,"
    " CONSTRAINT pk_concurrency_slot PRIMARY KEY (project, name, number))"
)

_REPRODUCTION = (
    "pipeline VARCHAR(128) NOT NULL DEFAULT ''",
    "number INTEGER NOT NULL DEFAULT 0",
    "metrics TEXT NOT NULL DEFAULT '[]'",
    "changes TEXT NOT NULL DEFAULT '[]'",
    "not_repeated TEXT NOT NULL DEFAULT '[]'",
    "network VARCHAR(16) NOT NULL DEFAULT 'open'",
    "rebuilt BOOLEAN NOT NULL DEFAULT FALSE",
    "report VARCHAR(80) NOT NULL DEFAULT ''",
)
_PACKAGES = (
    "CREATE TABLE reproduction_report (id VARCHAR(32) NOT NULL, project VARCHAR(32) NOT NULL, created_at BIGINT NOT NULL,"
    " created_by VARCHAR(128) NOT NULL, tolerance FLOAT NOT NULL, holds BOOLEAN NOT NULL, entries TEXT NOT NULL,"
    " digest VARCHAR(80) NOT NULL, CONSTRAINT pk_reproduction_report PRIMARY KEY (id))",
    "CREATE TABLE pipeline_package (project VARCHAR(32) NOT NULL, digest VARCHAR(80) NOT NULL, pipelines TEXT NOT NULL,"
    " rung VARCHAR(64) NOT NULL, python VARCHAR(64) NOT NULL, files INTEGER NOT NULL, size_bytes BIGINT NOT NULL,"
    " lock VARCHAR(80) NOT NULL, lock_kind VARCHAR(32) NOT NULL, created_at BIGINT NOT NULL, created_by VARCHAR(128) NOT NULL,"
    " git_commit VARCHAR(64) NOT NULL, git_dirty BOOLEAN NOT NULL, origin TEXT NOT NULL, content TEXT NOT NULL,"
    " CONSTRAINT pk_pipeline_package PRIMARY KEY (project, digest))",
    "CREATE TABLE pipeline_release (id VARCHAR(32) NOT NULL, project VARCHAR(32) NOT NULL, package VARCHAR(80) NOT NULL,"
    " pipeline VARCHAR(128) NOT NULL, environment VARCHAR(128) NOT NULL, status VARCHAR(16) NOT NULL, created_at BIGINT NOT NULL,"
    " created_by VARCHAR(128) NOT NULL, params TEXT NOT NULL, url TEXT NOT NULL, pipeline_run VARCHAR(32), approved_by TEXT NOT NULL,"
    " override_reason TEXT NOT NULL, overridden TEXT NOT NULL, ended_at BIGINT, CONSTRAINT pk_pipeline_release PRIMARY KEY (id))",
    "CREATE INDEX ix_pipeline_release_package ON pipeline_release (project, package)",
    "CREATE TABLE package_approval (id VARCHAR(32) NOT NULL, project VARCHAR(32) NOT NULL, package VARCHAR(80) NOT NULL,"
    ' environment VARCHAR(128) NOT NULL, "by" VARCHAR(128) NOT NULL, created_at BIGINT NOT NULL, comment TEXT NOT NULL,'
    " rejected BOOLEAN NOT NULL, revoked_at BIGINT, CONSTRAINT pk_package_approval PRIMARY KEY (id))",
    "CREATE INDEX ix_package_approval_package ON package_approval (project, package)",
)
_TRIGGER = (
    "options TEXT NOT NULL DEFAULT '{}'",
    "take TEXT NOT NULL DEFAULT '{}'",
    "guards TEXT NOT NULL DEFAULT '{}'",
    "priority INTEGER NOT NULL DEFAULT 0",
    "package VARCHAR(80) NOT NULL DEFAULT ''",
    "environment VARCHAR(128) NOT NULL DEFAULT ''",
    "executor VARCHAR(64) NOT NULL DEFAULT ''",
    "source VARCHAR(16) NOT NULL DEFAULT ''",
    "warnings TEXT NOT NULL DEFAULT '[]'",
    "updated_at BIGINT",
    "due_at BIGINT",
)
_FIRE = (
    "trigger_name VARCHAR(128) NOT NULL DEFAULT ''",
    "kind VARCHAR(128) NOT NULL DEFAULT ''",
    "pipeline VARCHAR(128) NOT NULL DEFAULT ''",
    "checks TEXT NOT NULL DEFAULT '[]'",
    "facts TEXT NOT NULL DEFAULT '{}'",
    "params TEXT NOT NULL DEFAULT '{}'",
    "would VARCHAR(16) NOT NULL DEFAULT ''",
    "as_of BIGINT NOT NULL DEFAULT 0",
    "settled_at BIGINT",
    "due_at BIGINT",
    "give_up_at BIGINT",
    "called_by VARCHAR(128) NOT NULL DEFAULT ''",
    "approved_by VARCHAR(128) NOT NULL DEFAULT ''",
)
_TRIGGERS = (
    'CREATE TABLE trigger_hook ("trigger" VARCHAR(32) NOT NULL, project VARCHAR(32) NOT NULL, hook VARCHAR(64) NOT NULL,'
    " secret TEXT NOT NULL, previous TEXT NOT NULL, previous_until BIGINT,"
    ' CONSTRAINT pk_trigger_hook PRIMARY KEY ("trigger"), CONSTRAINT uq_trigger_hook_hook UNIQUE (hook))',
    "CREATE INDEX ix_pipeline_trigger_due ON pipeline_trigger (due_at)",
    'CREATE INDEX ix_trigger_fire_started ON trigger_fire ("trigger", outcome, as_of)',
    "CREATE INDEX ix_trigger_fire_waiting ON trigger_fire (outcome, due_at)",
    "CREATE INDEX ix_trigger_fire_run ON trigger_fire (pipeline_run)",
    "UPDATE trigger_fire SET as_of = at, settled_at = at",
    'UPDATE trigger_fire SET trigger_name = (SELECT name FROM pipeline_trigger WHERE id = trigger_fire."trigger")'
    ' WHERE "trigger" IN (SELECT id FROM pipeline_trigger)',
    'UPDATE trigger_fire SET kind = (SELECT kind FROM pipeline_trigger WHERE id = trigger_fire."trigger")'
    ' WHERE "trigger" IN (SELECT id FROM pipeline_trigger)',
    'UPDATE trigger_fire SET pipeline = (SELECT pipeline FROM pipeline_trigger WHERE id = trigger_fire."trigger")'
    ' WHERE "trigger" IN (SELECT id FROM pipeline_trigger)',
)
_MOVED = ("cooldown_s", "cron", "zone", "catch_up")
_CHECKPOINT = (
    "CREATE TABLE step_checkpoint (project VARCHAR(32) NOT NULL, pipeline_run VARCHAR(32) NOT NULL, step VARCHAR(250) NOT NULL,"
    " seed BIGINT NOT NULL, number INTEGER NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL, saved_at BIGINT NOT NULL,"
    " CONSTRAINT pk_step_checkpoint PRIMARY KEY (project, pipeline_run, step, seed))"
)


def up(connection: Connection) -> None:
    """Add the columns and make the tables."""
    wider = {"pipeline_run": _RUN, "step_run": _STEP, "step_attempt": _ATTEMPT, "job": _JOB, "reproduction": _REPRODUCTION}
    for table, columns in wider.items():
        for column in columns:
            connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {column}"))
    connection.execute(text(_ITEM))
    connection.execute(text(_SLOT))
    connection.execute(text(_DETAIL))
    connection.execute(text(_REPORT))
    connection.execute(text(_CHECKPOINT))
    for statement in _PACKAGES:
        connection.execute(text(statement))
    _triggers(connection)


def _triggers(connection: Connection) -> None:
    """Guard rails and options of triggers become JSON; what a schedule was told goes there."""
    for table, columns in (("pipeline_trigger", _TRIGGER), ("trigger_fire", _FIRE)):
        for column in columns:
            connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {column}"))
    for statement in _TRIGGERS:
        connection.execute(text(statement))
    for row in connection.execute(text("SELECT id, kind, next_fire, cooldown_s, cron, zone, catch_up FROM pipeline_trigger")).all():
        options = {"cron": row.cron, "zone": row.zone, "catch_up": row.catch_up} if row.kind == "schedule" else {}
        values = {"options": json.dumps(options), "guards": json.dumps({"cooldown_s": row.cooldown_s}), "due": row.next_fire, "id": row.id}
        connection.execute(text("UPDATE pipeline_trigger SET options = :options, guards = :guards, due_at = :due WHERE id = :id"), values)
    for column in _MOVED:
        connection.execute(text(f"ALTER TABLE pipeline_trigger DROP COLUMN {column}"))
