"""Schema 7: how deployments answer, kept with each revision."""

from sqlalchemy import Connection, text

_REVISION = ("options TEXT NOT NULL DEFAULT '{}'",)

_RELEASES = (
    "CREATE TABLE rollout (id VARCHAR(32) NOT NULL, project VARCHAR(32) NOT NULL, deployment VARCHAR(128) NOT NULL,"
    " state VARCHAR(16) NOT NULL, body TEXT NOT NULL, CONSTRAINT pk_rollout PRIMARY KEY (id))",
    "CREATE INDEX ix_rollout_deployment ON rollout (project, deployment, state)",
    "CREATE TABLE ab_test (id VARCHAR(32) NOT NULL, project VARCHAR(32) NOT NULL, deployment VARCHAR(128) NOT NULL,"
    " state VARCHAR(16) NOT NULL, body TEXT NOT NULL, CONSTRAINT pk_ab_test PRIMARY KEY (id))",
    "CREATE INDEX ix_ab_test_deployment ON ab_test (project, deployment, state)",
    "CREATE TABLE release_look (id VARCHAR(32) NOT NULL, project VARCHAR(32) NOT NULL, deployment VARCHAR(128) NOT NULL,"
    " kind VARCHAR(16) NOT NULL, subject VARCHAR(32) NOT NULL, body TEXT NOT NULL, CONSTRAINT pk_release_look PRIMARY KEY (id))",
    "CREATE INDEX ix_release_look_subject ON release_look (project, deployment, kind, subject)",
    "CREATE TABLE routing_state (id VARCHAR(32) NOT NULL, project VARCHAR(32) NOT NULL, deployment VARCHAR(128) NOT NULL,"
    " changed_at BIGINT NOT NULL, body TEXT NOT NULL, CONSTRAINT pk_routing_state PRIMARY KEY (id))",
    "CREATE INDEX ix_routing_state_deployment ON routing_state (project, deployment)",
)

_LOG = (
    "ALTER TABLE prediction_file ADD COLUMN counted INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE prediction_file ADD COLUMN first_id VARCHAR(200)",
    "ALTER TABLE prediction_file ADD COLUMN last_id VARCHAR(200)",
    "CREATE TABLE prediction_total (id VARCHAR(32) NOT NULL, project VARCHAR(32) NOT NULL, deployment VARCHAR(128) NOT NULL,"
    " model VARCHAR(256) NOT NULL, number INTEGER NOT NULL, revision INTEGER NOT NULL, arm VARCHAR(64) NOT NULL, day VARCHAR(10) NOT NULL,"
    " rows BIGINT NOT NULL, errors BIGINT NOT NULL, unlogged BIGINT NOT NULL, shed BIGINT NOT NULL, elapsed_us BIGINT NOT NULL,"
    " CONSTRAINT pk_prediction_total PRIMARY KEY (id))",
    "CREATE UNIQUE INDEX ux_prediction_total_key ON prediction_total (project, deployment, model, number, revision, arm, day)",
    "CREATE TABLE prediction_sink (id VARCHAR(32) NOT NULL, project VARCHAR(32) NOT NULL, deployment VARCHAR(128) NOT NULL,"
    " address VARCHAR(32) NOT NULL, body TEXT NOT NULL, CONSTRAINT pk_prediction_sink PRIMARY KEY (id))",
    "CREATE UNIQUE INDEX ux_prediction_sink_address ON prediction_sink (project, deployment, address)",
    "CREATE TABLE prediction_removal (id VARCHAR(32) NOT NULL, project VARCHAR(32) NOT NULL, deployment VARCHAR(128) NOT NULL,"
    " body TEXT NOT NULL, CONSTRAINT pk_prediction_removal PRIMARY KEY (id))",
    "CREATE INDEX ix_prediction_removal_deployment ON prediction_removal (project, deployment)",
)


_NODES = (
    "CREATE TABLE inference_node (id VARCHAR(32) NOT NULL, project VARCHAR(32) NOT NULL, seen_at BIGINT NOT NULL, body TEXT NOT NULL,"
    " CONSTRAINT pk_inference_node PRIMARY KEY (id))",
    "CREATE INDEX ix_inference_node_project ON inference_node (project)",
    "CREATE TABLE shipped_segment (id VARCHAR(32) NOT NULL, project VARCHAR(32) NOT NULL, node VARCHAR(32) NOT NULL,"
    " reached BIGINT NOT NULL, changed_at BIGINT NOT NULL, CONSTRAINT pk_shipped_segment PRIMARY KEY (id))",
    "CREATE TABLE shipped_part (id VARCHAR(32) NOT NULL, project VARCHAR(32) NOT NULL, blob VARCHAR(80) NOT NULL,"
    " CONSTRAINT pk_shipped_part PRIMARY KEY (id))",
    "CREATE INDEX ix_shipped_part_project ON shipped_part (project)",
)


_ENGINE = ("ALTER TABLE model_version ADD COLUMN engine TEXT",)


def up(connection: Connection) -> None:
    """Add the columns and tables."""
    for column in _REVISION:
        connection.execute(text(f"ALTER TABLE deployment_revision ADD COLUMN {column}"))
    for statement in _RELEASES:
        connection.execute(text(statement))
    for statement in _ENGINE:
        connection.execute(text(statement))
    for statement in (*_LOG, *_NODES):
        connection.execute(text(statement))
