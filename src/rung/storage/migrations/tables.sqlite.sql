-- of migrations blake3:298df0d24ac061feb20dddc0a7e293e0a4bfbe4656388745543de63690d0dc2d
CREATE TABLE ab_test (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	deployment VARCHAR(128) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_ab_test PRIMARY KEY (id)
);

CREATE INDEX ix_ab_test_deployment ON ab_test (project, deployment, state);

CREATE TABLE alert (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	deployment VARCHAR(128) NOT NULL, 
	rule VARCHAR(16) NOT NULL, 
	started_at BIGINT NOT NULL, 
	ended_at BIGINT NOT NULL, 
	incident VARCHAR(32) NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_alert PRIMARY KEY (id), 
	CONSTRAINT uq_alert_project_deployment_rule_started_at_ended_at UNIQUE (project, deployment, rule, started_at, ended_at)
);

CREATE INDEX ix_alert_incident ON alert (project, incident);

CREATE TABLE alias_move (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	alias VARCHAR(250) NOT NULL, 
	number INTEGER, 
	previous INTEGER, 
	at BIGINT NOT NULL, 
	"by" VARCHAR(128) NOT NULL, 
	reason TEXT NOT NULL, 
	verdict VARCHAR(32), 
	override_reason TEXT NOT NULL, 
	CONSTRAINT pk_alias_move PRIMARY KEY (id)
);

CREATE INDEX ix_alias_move_model ON alias_move (project, model, alias);

CREATE TABLE approval (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	number INTEGER NOT NULL, 
	digest VARCHAR(80) NOT NULL, 
	"by" VARCHAR(128) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	created_at BIGINT NOT NULL, 
	comment TEXT NOT NULL, 
	until BIGINT, 
	revoked_at BIGINT, 
	revoked_by VARCHAR(128) NOT NULL, 
	rejected BOOLEAN NOT NULL, 
	CONSTRAINT pk_approval PRIMARY KEY (id)
);

CREATE INDEX ix_approval_version ON approval (project, model, number);

CREATE TABLE approval_rule (
	project VARCHAR(32) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	record TEXT NOT NULL, 
	CONSTRAINT pk_approval_rule PRIMARY KEY (project, model)
);

CREATE TABLE artifact (
	owner VARCHAR(40) NOT NULL, 
	path VARCHAR(1000) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	digest VARCHAR(80) NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	media_type TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_artifact PRIMARY KEY (owner, path, project)
);

CREATE TABLE attestation (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	criterion VARCHAR(8) NOT NULL, 
	expires_at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_attestation PRIMARY KEY (id)
);

CREATE TABLE audit_event (
	seq BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	principal VARCHAR(128) NOT NULL, 
	operation VARCHAR(128) NOT NULL, 
	target TEXT NOT NULL, 
	outcome VARCHAR(16) NOT NULL, 
	code VARCHAR(128) NOT NULL, 
	request TEXT NOT NULL, 
	previous VARCHAR(80) NOT NULL, 
	digest VARCHAR(80) NOT NULL, 
	CONSTRAINT pk_audit_event PRIMARY KEY (seq)
);

CREATE INDEX ix_audit_event_project ON audit_event (project, seq);

CREATE TABLE cache_detail (
	project VARCHAR(32) NOT NULL, 
	digest VARCHAR(80) NOT NULL, 
	detail TEXT NOT NULL, 
	CONSTRAINT pk_cache_detail PRIMARY KEY (project, digest)
);

CREATE TABLE canary_verdict (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	deployment VARCHAR(128) NOT NULL, 
	revision INTEGER NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_canary_verdict PRIMARY KEY (id)
);

CREATE INDEX ix_canary_verdict_deployment ON canary_verdict (project, deployment, revision);

CREATE TABLE concurrency_slot (
	project VARCHAR(32) NOT NULL, 
	name VARCHAR(260) NOT NULL, 
	number INTEGER NOT NULL, 
	job VARCHAR(32) NOT NULL, 
	fence BIGINT NOT NULL, 
	holder VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_concurrency_slot PRIMARY KEY (project, name, number)
);

CREATE TABLE dataset (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	description TEXT NOT NULL, 
	owner TEXT NOT NULL, 
	source TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(128) NOT NULL, 
	CONSTRAINT pk_dataset PRIMARY KEY (id), 
	CONSTRAINT uq_dataset_project_name UNIQUE (project, name)
);

CREATE TABLE dataset_profile (
	project VARCHAR(32) NOT NULL, 
	dataset VARCHAR(128) NOT NULL, 
	number INTEGER NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_dataset_profile PRIMARY KEY (project, dataset, number)
);

CREATE TABLE dataset_version (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	dataset VARCHAR(128) NOT NULL, 
	number INTEGER NOT NULL, 
	digest VARCHAR(80) NOT NULL, 
	format VARCHAR(16) NOT NULL, 
	files TEXT NOT NULL, 
	schema TEXT NOT NULL, 
	rows BIGINT, 
	size_bytes BIGINT NOT NULL, 
	time_column TEXT, 
	note TEXT NOT NULL, 
	source TEXT NOT NULL, 
	derived_from TEXT NOT NULL, 
	validation VARCHAR(16) NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(128) NOT NULL, 
	CONSTRAINT pk_dataset_version PRIMARY KEY (id), 
	CONSTRAINT uq_dataset_version_project_dataset_number UNIQUE (project, dataset, number), 
	CONSTRAINT uq_dataset_version_project_dataset_digest UNIQUE (project, dataset, digest)
);

CREATE TABLE decision (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	number INTEGER NOT NULL, 
	deployment VARCHAR(128) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	action VARCHAR(16) NOT NULL, 
	incident VARCHAR(32), 
	as_of BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_decision PRIMARY KEY (id), 
	CONSTRAINT uq_decision UNIQUE (project, number)
);

CREATE TABLE deployment (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	environment VARCHAR(128) NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_deployment PRIMARY KEY (id), 
	CONSTRAINT uq_deployment_project_name UNIQUE (project, name)
);

CREATE TABLE deployment_revision (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	deployment VARCHAR(128) NOT NULL, 
	number INTEGER NOT NULL, 
	routes TEXT NOT NULL, 
	change VARCHAR(16) NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(128) NOT NULL, 
	actor_kind VARCHAR(16) NOT NULL, 
	reason TEXT NOT NULL, 
	verdict VARCHAR(32), 
	override_reason TEXT NOT NULL, 
	duration_ms FLOAT NOT NULL, 
	options TEXT DEFAULT '{}' NOT NULL, 
	CONSTRAINT pk_deployment_revision PRIMARY KEY (id), 
	CONSTRAINT uq_deployment_revision_project_deployment_number UNIQUE (project, deployment, number)
);

CREATE TABLE diagnosis (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	incident VARCHAR(32) NOT NULL, 
	as_of BIGINT NOT NULL, 
	cause VARCHAR(32) NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_diagnosis PRIMARY KEY (id), 
	CONSTRAINT uq_diagnosis_project_incident_as_of UNIQUE (project, incident, as_of)
);

CREATE TABLE dossier (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	number INTEGER NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_dossier PRIMARY KEY (id)
);

CREATE TABLE evaluation (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	number INTEGER NOT NULL, 
	dataset VARCHAR(128) NOT NULL, 
	dataset_number INTEGER NOT NULL, 
	created_at BIGINT NOT NULL, 
	record TEXT NOT NULL, 
	CONSTRAINT pk_evaluation PRIMARY KEY (id)
);

CREATE INDEX ix_evaluation_version ON evaluation (project, model, number, dataset, dataset_number);

CREATE TABLE expectation_set (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	dataset VARCHAR(128) NOT NULL, 
	number INTEGER NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_expectation_set PRIMARY KEY (id), 
	CONSTRAINT uq_expectation_set_project_dataset_number UNIQUE (project, dataset, number)
);

CREATE TABLE experiment (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	number INTEGER NOT NULL, 
	name VARCHAR(500) NOT NULL, 
	note TEXT NOT NULL, 
	tags TEXT NOT NULL, 
	artifact_location TEXT NOT NULL, 
	runs INTEGER NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(128) NOT NULL, 
	updated_at BIGINT NOT NULL, 
	deleted_at BIGINT, 
	CONSTRAINT pk_experiment PRIMARY KEY (id), 
	CONSTRAINT uq_experiment_name UNIQUE (project, name), 
	CONSTRAINT uq_experiment_number UNIQUE (project, number)
);

CREATE TABLE feature_view (
	project VARCHAR(32) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	number INTEGER NOT NULL, 
	digest VARCHAR(80) NOT NULL, 
	"view" TEXT NOT NULL, 
	applied_at BIGINT NOT NULL, 
	applied_by VARCHAR(128) NOT NULL, 
	CONSTRAINT pk_feature_view PRIMARY KEY (project, name, number), 
	CONSTRAINT uq_feature_view_project_name_digest UNIQUE (project, name, digest)
);

CREATE TABLE gate_rules (
	project VARCHAR(32) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	record TEXT NOT NULL, 
	CONSTRAINT pk_gate_rules PRIMARY KEY (project, model)
);

CREATE TABLE incident (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	number INTEGER NOT NULL, 
	deployment VARCHAR(128) NOT NULL, 
	rule VARCHAR(16) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_incident PRIMARY KEY (id), 
	CONSTRAINT uq_incident_project_number UNIQUE (project, number)
);

CREATE INDEX ix_incident_deployment ON incident (project, deployment, status);

CREATE TABLE inference_node (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	seen_at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_inference_node PRIMARY KEY (id)
);

CREATE INDEX ix_inference_node_project ON inference_node (project);

CREATE TABLE job (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	queue VARCHAR(64) NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	subject VARCHAR(250) NOT NULL, 
	payload TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	priority INTEGER NOT NULL, 
	run_at BIGINT NOT NULL, 
	attempts INTEGER NOT NULL, 
	max_attempts INTEGER NOT NULL, 
	lease_until BIGINT, 
	lease_s FLOAT NOT NULL, 
	beats BIGINT NOT NULL, 
	owner VARCHAR(250), 
	fence BIGINT NOT NULL, 
	concurrency_group VARCHAR(250) NOT NULL, 
	concurrency_limit INTEGER NOT NULL, 
	dedup_key VARCHAR(250), 
	cancel_requested INTEGER NOT NULL, 
	error TEXT, 
	created_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	CONSTRAINT pk_job PRIMARY KEY (id), 
	CONSTRAINT uq_job_dedup UNIQUE (project, dedup_key)
);

CREATE INDEX ix_job_claim ON job (queue, state, priority, run_at);

CREATE INDEX ix_job_subject ON job (subject);

CREATE TABLE label_batch (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	deployment VARCHAR(128) NOT NULL, 
	digest VARCHAR(80) NOT NULL, 
	rows BIGINT NOT NULL, 
	first_arrival BIGINT NOT NULL, 
	last_arrival BIGINT NOT NULL, 
	source TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_label_batch PRIMARY KEY (id), 
	CONSTRAINT uq_label_batch_project_deployment_digest UNIQUE (project, deployment, digest)
);

CREATE TABLE lease (
	name VARCHAR(128) NOT NULL, 
	owner VARCHAR(250) NOT NULL, 
	fence BIGINT NOT NULL, 
	until BIGINT NOT NULL, 
	CONSTRAINT pk_lease PRIMARY KEY (name)
);

CREATE TABLE ledger_entry (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	source VARCHAR(250) NOT NULL, 
	spent_at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_ledger_entry PRIMARY KEY (id), 
	CONSTRAINT uq_ledger_entry UNIQUE (project, model, source)
);

CREATE TABLE lineage_edge (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	source_kind VARCHAR(128) NOT NULL, 
	source_id VARCHAR(300) NOT NULL, 
	relation VARCHAR(128) NOT NULL, 
	target_kind VARCHAR(128) NOT NULL, 
	target_id VARCHAR(300) NOT NULL, 
	at BIGINT NOT NULL, 
	CONSTRAINT pk_lineage_edge PRIMARY KEY (id), 
	CONSTRAINT uq_lineage_edge UNIQUE (project, source_kind, source_id, relation, target_kind, target_id)
);

CREATE INDEX ix_lineage_edge_target ON lineage_edge (project, target_kind, target_id);

CREATE TABLE logged_model (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	experiment_number INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	type TEXT NOT NULL, 
	run VARCHAR(32), 
	params TEXT NOT NULL, 
	tags TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	created_by VARCHAR(128) NOT NULL, 
	deleted_at BIGINT, 
	CONSTRAINT pk_logged_model PRIMARY KEY (id)
);

CREATE INDEX ix_logged_model_experiment ON logged_model (project, experiment_number, created_at);

CREATE INDEX ix_logged_model_run ON logged_model (project, run);

CREATE TABLE logged_model_metric (
	model VARCHAR(32) NOT NULL, 
	"key" VARCHAR(250) NOT NULL, 
	run VARCHAR(32) NOT NULL, 
	dataset_name VARCHAR(500) NOT NULL, 
	dataset_digest VARCHAR(36) NOT NULL, 
	step BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	value FLOAT, 
	is_nan BOOLEAN NOT NULL, 
	CONSTRAINT pk_logged_model_metric PRIMARY KEY (model, "key", run, dataset_name, dataset_digest)
);

CREATE TABLE maturity_point (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_maturity_point PRIMARY KEY (id)
);

CREATE TABLE maturity_target (
	project VARCHAR(32) NOT NULL, 
	scale VARCHAR(16) NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_maturity_target PRIMARY KEY (project, scale)
);

CREATE TABLE metric_batch (
	run VARCHAR(32) NOT NULL, 
	batch VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_metric_batch PRIMARY KEY (run, batch)
);

CREATE TABLE metric_chunk (
	id INTEGER NOT NULL, 
	series INTEGER NOT NULL, 
	first_step BIGINT NOT NULL, 
	last_step BIGINT NOT NULL, 
	points INTEGER NOT NULL, 
	data BLOB NOT NULL, 
	summary BLOB NOT NULL, 
	CONSTRAINT pk_metric_chunk PRIMARY KEY (id)
);

CREATE INDEX ix_metric_chunk_series ON metric_chunk (series, first_step);

CREATE TABLE metric_latest (
	run VARCHAR(32) NOT NULL, 
	"key" VARCHAR(250) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	experiment_number INTEGER NOT NULL, 
	step BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	value FLOAT, 
	is_nan BOOLEAN NOT NULL, 
	low FLOAT, 
	low_step BIGINT, 
	high FLOAT, 
	high_step BIGINT, 
	CONSTRAINT pk_metric_latest PRIMARY KEY (run, "key")
);

CREATE INDEX ix_metric_latest_value ON metric_latest (project, experiment_number, "key", value, run);

CREATE TABLE metric_point (
	series INTEGER NOT NULL, 
	step BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	value FLOAT NOT NULL, 
	is_nan BOOLEAN NOT NULL, 
	CONSTRAINT pk_metric_point PRIMARY KEY (series, step, at, value, is_nan)
)
 WITHOUT ROWID;

CREATE TABLE metric_series (
	id INTEGER NOT NULL, 
	run VARCHAR(32) NOT NULL, 
	"key" VARCHAR(250) NOT NULL, 
	tail INTEGER NOT NULL, 
	CONSTRAINT pk_metric_series PRIMARY KEY (id), 
	CONSTRAINT uq_metric_series UNIQUE (run, "key")
);

CREATE INDEX ix_metric_series_tail ON metric_series (tail) WHERE tail >= 4096;

CREATE TABLE model (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	task VARCHAR(16) NOT NULL, 
	description TEXT NOT NULL, 
	tags TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(128) NOT NULL, 
	updated_at BIGINT, 
	gated BOOLEAN, 
	deleted_at BIGINT, 
	CONSTRAINT pk_model PRIMARY KEY (id), 
	CONSTRAINT uq_model_name UNIQUE (project, name)
);

CREATE TABLE model_alias (
	project VARCHAR(32) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	alias VARCHAR(250) NOT NULL, 
	number INTEGER NOT NULL, 
	CONSTRAINT pk_model_alias PRIMARY KEY (project, model, alias)
);

CREATE TABLE model_goal (
	project VARCHAR(32) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_model_goal PRIMARY KEY (project, model)
);

CREATE TABLE model_hold (
	project VARCHAR(32) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	number INTEGER NOT NULL, 
	holder VARCHAR(200) NOT NULL, 
	CONSTRAINT pk_model_hold PRIMARY KEY (project, model, number, holder)
);

CREATE TABLE model_version (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	number INTEGER NOT NULL, 
	digest VARCHAR(80) NOT NULL, 
	run_id VARCHAR(32), 
	pipeline_run_id VARCHAR(32), 
	created_at BIGINT NOT NULL, 
	description TEXT NOT NULL, 
	tags TEXT NOT NULL, 
	deleted_at BIGINT, 
	record TEXT NOT NULL, 
	updated_at BIGINT, 
	stage VARCHAR(16), 
	staged_at BIGINT, 
	engine TEXT, 
	CONSTRAINT pk_model_version PRIMARY KEY (id), 
	CONSTRAINT uq_model_version UNIQUE (project, model, number)
);

CREATE INDEX ix_model_version_run ON model_version (project, run_id);

CREATE TABLE monitor (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	deployment VARCHAR(128) NOT NULL, 
	body TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_monitor PRIMARY KEY (id), 
	CONSTRAINT uq_monitor_project_deployment UNIQUE (project, deployment)
);

CREATE TABLE monitor_window (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	deployment VARCHAR(128) NOT NULL, 
	started_at BIGINT NOT NULL, 
	ended_at BIGINT NOT NULL, 
	final BOOLEAN NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_monitor_window PRIMARY KEY (id), 
	CONSTRAINT uq_monitor_window_project_deployment_started_at_ended_at UNIQUE (project, deployment, started_at, ended_at)
);

CREATE TABLE outbox (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	kind VARCHAR(128) NOT NULL, 
	payload TEXT NOT NULL, 
	principal VARCHAR(32) NOT NULL, 
	created_at BIGINT NOT NULL, 
	due_at BIGINT NOT NULL, 
	delivered_at BIGINT, 
	attempts INTEGER NOT NULL, 
	error TEXT, 
	CONSTRAINT pk_outbox PRIMARY KEY (id)
);

CREATE INDEX ix_outbox_waiting ON outbox (delivered_at, due_at);

CREATE TABLE package_approval (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	package VARCHAR(80) NOT NULL, 
	environment VARCHAR(128) NOT NULL, 
	"by" VARCHAR(128) NOT NULL, 
	created_at BIGINT NOT NULL, 
	comment TEXT NOT NULL, 
	rejected BOOLEAN NOT NULL, 
	revoked_at BIGINT, 
	CONSTRAINT pk_package_approval PRIMARY KEY (id)
);

CREATE INDEX ix_package_approval_package ON package_approval (project, package);

CREATE TABLE pipeline_definition (
	project VARCHAR(32) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	info TEXT NOT NULL, 
	seen_at BIGINT NOT NULL, 
	CONSTRAINT pk_pipeline_definition PRIMARY KEY (project, name)
);

CREATE TABLE pipeline_package (
	project VARCHAR(32) NOT NULL, 
	digest VARCHAR(80) NOT NULL, 
	pipelines TEXT NOT NULL, 
	rung VARCHAR(64) NOT NULL, 
	python VARCHAR(64) NOT NULL, 
	files INTEGER NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	lock VARCHAR(80) NOT NULL, 
	lock_kind VARCHAR(32) NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(128) NOT NULL, 
	git_commit VARCHAR(64) NOT NULL, 
	git_dirty BOOLEAN NOT NULL, 
	origin TEXT NOT NULL, 
	content TEXT NOT NULL, 
	CONSTRAINT pk_pipeline_package PRIMARY KEY (project, digest)
);

CREATE TABLE pipeline_release (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	package VARCHAR(80) NOT NULL, 
	pipeline VARCHAR(128) NOT NULL, 
	environment VARCHAR(128) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(128) NOT NULL, 
	params TEXT NOT NULL, 
	url TEXT NOT NULL, 
	pipeline_run VARCHAR(32), 
	approved_by TEXT NOT NULL, 
	override_reason TEXT NOT NULL, 
	overridden TEXT NOT NULL, 
	ended_at BIGINT, 
	CONSTRAINT pk_pipeline_release PRIMARY KEY (id)
);

CREATE INDEX ix_pipeline_release_package ON pipeline_release (project, package);

CREATE TABLE pipeline_run (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	number INTEGER NOT NULL, 
	pipeline VARCHAR(128) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	params TEXT NOT NULL, 
	cause TEXT NOT NULL, 
	seed BIGINT NOT NULL, 
	use_cache BOOLEAN NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(128) NOT NULL, 
	started_at BIGINT, 
	ended_at BIGINT, 
	run_id VARCHAR(32), 
	code VARCHAR(80) NOT NULL, 
	lock VARCHAR(80) NOT NULL, 
	python VARCHAR(64) NOT NULL, 
	git_commit VARCHAR(64) NOT NULL, 
	git_dirty BOOLEAN NOT NULL, 
	hardware TEXT NOT NULL, 
	steps TEXT NOT NULL, 
	outputs TEXT NOT NULL, 
	error TEXT NOT NULL, 
	failed_step VARCHAR(250) NOT NULL, 
	cancel_requested BOOLEAN NOT NULL, 
	resumed INTEGER NOT NULL, 
	reproduces VARCHAR(32), 
	package VARCHAR(80) NOT NULL, 
	environment VARCHAR(128) NOT NULL, 
	executor VARCHAR(64) NOT NULL, 
	priority INTEGER NOT NULL, 
	concurrency_group VARCHAR(250) NOT NULL, 
	concurrency_limit INTEGER NOT NULL, 
	audited BOOLEAN NOT NULL, 
	switches TEXT NOT NULL, 
	inputs TEXT NOT NULL, 
	packages VARCHAR(80) NOT NULL, 
	rerun_of VARCHAR(32), 
	rerun_from TEXT NOT NULL, 
	notes TEXT NOT NULL, 
	wall_s FLOAT NOT NULL, 
	cpu_s FLOAT NOT NULL, 
	gpu_s FLOAT NOT NULL, 
	peak_bytes BIGINT NOT NULL, 
	CONSTRAINT pk_pipeline_run PRIMARY KEY (id), 
	CONSTRAINT uq_pipeline_run_number UNIQUE (project, pipeline, number)
);

CREATE INDEX ix_pipeline_run_status ON pipeline_run (project, status);

CREATE TABLE pipeline_trigger (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	pipeline VARCHAR(128) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	subject TEXT NOT NULL, 
	options TEXT NOT NULL, 
	params TEXT NOT NULL, 
	take TEXT NOT NULL, 
	guards TEXT NOT NULL, 
	priority INTEGER NOT NULL, 
	package VARCHAR(80) NOT NULL, 
	environment VARCHAR(128) NOT NULL, 
	executor VARCHAR(64) NOT NULL, 
	paused BOOLEAN NOT NULL, 
	source VARCHAR(16) NOT NULL, 
	warnings TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(128) NOT NULL, 
	updated_at BIGINT, 
	next_fire BIGINT, 
	due_at BIGINT, 
	last_fired_at BIGINT, 
	CONSTRAINT pk_pipeline_trigger PRIMARY KEY (id), 
	CONSTRAINT uq_pipeline_trigger_name UNIQUE (project, name)
);

CREATE INDEX ix_pipeline_trigger_due ON pipeline_trigger (due_at);

CREATE TABLE prediction_file (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	deployment VARCHAR(128) NOT NULL, 
	blob VARCHAR(80) NOT NULL, 
	rows BIGINT NOT NULL, 
	start BIGINT NOT NULL, 
	stop BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	counted INTEGER DEFAULT '0' NOT NULL, 
	first_id VARCHAR(200), 
	last_id VARCHAR(200), 
	CONSTRAINT pk_prediction_file PRIMARY KEY (id)
);

CREATE INDEX ix_prediction_file_deployment ON prediction_file (project, deployment);

CREATE TABLE prediction_removal (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	deployment VARCHAR(128) NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_prediction_removal PRIMARY KEY (id)
);

CREATE INDEX ix_prediction_removal_deployment ON prediction_removal (project, deployment);

CREATE TABLE prediction_segment (
	id VARCHAR(32) NOT NULL, 
	file VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_prediction_segment PRIMARY KEY (id)
);

CREATE TABLE prediction_sink (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	deployment VARCHAR(128) NOT NULL, 
	address VARCHAR(32) NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_prediction_sink PRIMARY KEY (id)
);

CREATE UNIQUE INDEX ux_prediction_sink_address ON prediction_sink (project, deployment, address);

CREATE TABLE prediction_total (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	deployment VARCHAR(128) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	number INTEGER NOT NULL, 
	revision INTEGER NOT NULL, 
	arm VARCHAR(64) NOT NULL, 
	day VARCHAR(10) NOT NULL, 
	rows BIGINT NOT NULL, 
	errors BIGINT NOT NULL, 
	unlogged BIGINT NOT NULL, 
	shed BIGINT NOT NULL, 
	elapsed_us BIGINT NOT NULL, 
	CONSTRAINT pk_prediction_total PRIMARY KEY (id)
);

CREATE UNIQUE INDEX ux_prediction_total_key ON prediction_total (project, deployment, model, number, revision, arm, day);

CREATE TABLE principal (
	id VARCHAR(32) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	created_at BIGINT NOT NULL, 
	disabled_at BIGINT, 
	CONSTRAINT pk_principal PRIMARY KEY (id), 
	CONSTRAINT uq_principal_name UNIQUE (name)
);

CREATE TABLE project (
	id VARCHAR(32) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_project PRIMARY KEY (id), 
	CONSTRAINT uq_project_name UNIQUE (name)
);

CREATE TABLE realised_gain (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	decision VARCHAR(32) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	created_at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_realised_gain PRIMARY KEY (id)
);

CREATE TABLE rehearsal (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	number INTEGER NOT NULL, 
	created_at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_rehearsal PRIMARY KEY (id), 
	CONSTRAINT uq_rehearsal UNIQUE (project, model, number)
);

CREATE TABLE release_look (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	deployment VARCHAR(128) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	subject VARCHAR(32) NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_release_look PRIMARY KEY (id)
);

CREATE INDEX ix_release_look_subject ON release_look (project, deployment, kind, subject);

CREATE TABLE release_note (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	deployment VARCHAR(128) NOT NULL, 
	revision INTEGER NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_release_note PRIMARY KEY (id)
);

CREATE TABLE reproduction (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	pipeline_run VARCHAR(32) NOT NULL, 
	repeated_as VARCHAR(32) NOT NULL, 
	likeness VARCHAR(16) NOT NULL, 
	first_diverging_step TEXT NOT NULL, 
	tolerance FLOAT NOT NULL, 
	comparisons TEXT NOT NULL, 
	notes TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(128) NOT NULL, 
	pipeline VARCHAR(128) NOT NULL, 
	number INTEGER NOT NULL, 
	metrics TEXT NOT NULL, 
	changes TEXT NOT NULL, 
	not_repeated TEXT NOT NULL, 
	network VARCHAR(16) NOT NULL, 
	rebuilt BOOLEAN NOT NULL, 
	report VARCHAR(80) NOT NULL, 
	CONSTRAINT pk_reproduction PRIMARY KEY (id)
);

CREATE INDEX ix_reproduction_run ON reproduction (project, pipeline_run);

CREATE TABLE reproduction_report (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(128) NOT NULL, 
	tolerance FLOAT NOT NULL, 
	holds BOOLEAN NOT NULL, 
	entries TEXT NOT NULL, 
	digest VARCHAR(80) NOT NULL, 
	CONSTRAINT pk_reproduction_report PRIMARY KEY (id)
);

CREATE TABLE retraining_policy (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	number INTEGER NOT NULL, 
	created_at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_retraining_policy PRIMARY KEY (id), 
	CONSTRAINT uq_retraining_policy UNIQUE (project, model, number)
);

CREATE TABLE role_grant (
	project VARCHAR(32) NOT NULL, 
	principal VARCHAR(32) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	CONSTRAINT pk_role_grant PRIMARY KEY (project, principal)
);

CREATE TABLE rollout (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	deployment VARCHAR(128) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_rollout PRIMARY KEY (id)
);

CREATE INDEX ix_rollout_deployment ON rollout (project, deployment, state);

CREATE TABLE routing_state (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	deployment VARCHAR(128) NOT NULL, 
	changed_at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_routing_state PRIMARY KEY (id)
);

CREATE INDEX ix_routing_state_deployment ON routing_state (project, deployment);

CREATE TABLE run (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	experiment_number INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	started_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	created_by VARCHAR(128) NOT NULL, 
	context TEXT NOT NULL, 
	git_commit VARCHAR(64) NOT NULL, 
	datasets TEXT NOT NULL, 
	inputs TEXT NOT NULL, 
	models TEXT NOT NULL, 
	pipeline_run VARCHAR(32), 
	step TEXT NOT NULL, 
	parent VARCHAR(32), 
	deleted_at BIGINT, 
	error TEXT NOT NULL, 
	CONSTRAINT pk_run PRIMARY KEY (id), 
	CONSTRAINT uq_run_number UNIQUE (project, experiment_number, number)
);

CREATE INDEX ix_run_deleted ON run (project, experiment_number) WHERE deleted_at IS NOT NULL;

CREATE INDEX ix_run_experiment ON run (project, experiment_number, started_at, id);

CREATE INDEX ix_run_parent ON run (project, parent);

CREATE INDEX ix_run_pipeline_run ON run (project, pipeline_run);

CREATE INDEX ix_run_started ON run (project, started_at, id);

CREATE TABLE run_input (
	run VARCHAR(32) NOT NULL, 
	name VARCHAR(500) NOT NULL, 
	digest VARCHAR(36) NOT NULL, 
	context VARCHAR(250) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_run_input PRIMARY KEY (run, name, digest, context)
);

CREATE INDEX ix_run_input_name ON run_input (project, name);

CREATE TABLE run_param (
	run VARCHAR(32) NOT NULL, 
	"key" VARCHAR(250) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	experiment_number INTEGER NOT NULL, 
	value TEXT NOT NULL, 
	text TEXT NOT NULL, 
	head VARCHAR(64) NOT NULL, 
	number FLOAT, 
	CONSTRAINT pk_run_param PRIMARY KEY (run, "key")
);

CREATE INDEX ix_run_param_head ON run_param (project, experiment_number, "key", head, run);

CREATE INDEX ix_run_param_number ON run_param (project, experiment_number, "key", number, run);

CREATE TABLE run_tag (
	run VARCHAR(32) NOT NULL, 
	"key" VARCHAR(250) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	experiment_number INTEGER NOT NULL, 
	value TEXT NOT NULL, 
	head VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_run_tag PRIMARY KEY (run, "key")
);

CREATE INDEX ix_run_tag_head ON run_tag (project, experiment_number, "key", head, run);

CREATE TABLE saved_view (
	project VARCHAR(32) NOT NULL, 
	principal VARCHAR(32) NOT NULL, 
	name VARCHAR(120) NOT NULL, 
	filter TEXT NOT NULL, 
	order_by TEXT NOT NULL, 
	columns TEXT NOT NULL, 
	experiment INTEGER, 
	updated_at BIGINT NOT NULL, 
	CONSTRAINT pk_saved_view PRIMARY KEY (project, principal, name)
);

CREATE TABLE schema_migration (
	number INTEGER NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	checksum VARCHAR(80) NOT NULL, 
	applied_at BIGINT NOT NULL, 
	CONSTRAINT pk_schema_migration PRIMARY KEY (number)
);

CREATE TABLE shipped_part (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	blob VARCHAR(80) NOT NULL, 
	CONSTRAINT pk_shipped_part PRIMARY KEY (id)
);

CREATE INDEX ix_shipped_part_project ON shipped_part (project);

CREATE TABLE shipped_segment (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	node VARCHAR(32) NOT NULL, 
	reached BIGINT NOT NULL, 
	changed_at BIGINT NOT NULL, 
	CONSTRAINT pk_shipped_segment PRIMARY KEY (id)
);

CREATE TABLE step_attempt (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	step_run VARCHAR(32) NOT NULL, 
	number INTEGER NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	executor VARCHAR(64) NOT NULL, 
	worker VARCHAR(250) NOT NULL, 
	started_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	wall_s FLOAT NOT NULL, 
	cpu_s FLOAT NOT NULL, 
	peak_bytes BIGINT NOT NULL, 
	error TEXT NOT NULL, 
	log VARCHAR(80) NOT NULL, 
	CONSTRAINT pk_step_attempt PRIMARY KEY (id), 
	CONSTRAINT uq_step_attempt_number UNIQUE (step_run, number)
);

CREATE TABLE step_cache (
	project VARCHAR(32) NOT NULL, 
	cache_key VARCHAR(80) NOT NULL, 
	step_run VARCHAR(32) NOT NULL, 
	outputs TEXT NOT NULL, 
	parts TEXT NOT NULL, 
	step VARCHAR(250) NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_step_cache PRIMARY KEY (project, cache_key)
);

CREATE INDEX ix_step_cache_step ON step_cache (project, step, created_at);

CREATE TABLE step_checkpoint (
	project VARCHAR(32) NOT NULL, 
	pipeline_run VARCHAR(32) NOT NULL, 
	step VARCHAR(250) NOT NULL, 
	seed BIGINT NOT NULL, 
	number INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	saved_at BIGINT NOT NULL, 
	CONSTRAINT pk_step_checkpoint PRIMARY KEY (project, pipeline_run, step, seed)
);

CREATE TABLE step_item (
	step_run VARCHAR(32) NOT NULL, 
	position INTEGER NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	attempts INTEGER NOT NULL, 
	cache_key VARCHAR(80) NOT NULL, 
	outputs TEXT NOT NULL, 
	wall_s FLOAT NOT NULL, 
	cpu_s FLOAT NOT NULL, 
	peak_bytes BIGINT NOT NULL, 
	error TEXT NOT NULL, 
	log VARCHAR(80) NOT NULL, 
	worker VARCHAR(250) NOT NULL, 
	ended_at BIGINT, 
	CONSTRAINT pk_step_item PRIMARY KEY (step_run, position)
);

CREATE TABLE step_run (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	pipeline_run VARCHAR(32) NOT NULL, 
	"key" VARCHAR(250) NOT NULL, 
	step VARCHAR(250) NOT NULL, 
	position INTEGER NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	attempts INTEGER NOT NULL, 
	cache_key VARCHAR(80) NOT NULL, 
	fingerprint VARCHAR(80) NOT NULL, 
	reason TEXT NOT NULL, 
	cached_from VARCHAR(32), 
	outputs TEXT NOT NULL, 
	started_at BIGINT, 
	ended_at BIGINT, 
	wall_s FLOAT NOT NULL, 
	cpu_s FLOAT NOT NULL, 
	error TEXT NOT NULL, 
	executor VARCHAR(64) NOT NULL, 
	gpu_s FLOAT NOT NULL, 
	peak_bytes BIGINT NOT NULL, 
	undeclared TEXT NOT NULL, 
	items INTEGER NOT NULL, 
	items_done INTEGER NOT NULL, 
	items_cached INTEGER NOT NULL, 
	items_failed INTEGER NOT NULL, 
	changes TEXT NOT NULL, 
	compared_with VARCHAR(32), 
	CONSTRAINT pk_step_run PRIMARY KEY (id), 
	CONSTRAINT uq_step_run_key UNIQUE (pipeline_run, "key")
);

CREATE INDEX ix_step_run_step ON step_run (project, step);

CREATE TABLE test_report (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	number INTEGER NOT NULL, 
	outcome VARCHAR(16) NOT NULL, 
	git_commit VARCHAR(64) NOT NULL, 
	git_dirty BOOLEAN NOT NULL, 
	code VARCHAR(80) NOT NULL, 
	source VARCHAR(250) NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(128) NOT NULL, 
	wall_s FLOAT NOT NULL, 
	counts TEXT NOT NULL, 
	fingerprints TEXT NOT NULL, 
	checks TEXT NOT NULL, 
	CONSTRAINT pk_test_report PRIMARY KEY (id), 
	CONSTRAINT uq_test_report_number UNIQUE (project, number)
);

CREATE TABLE token (
	id VARCHAR(32) NOT NULL, 
	principal VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	secret_digest VARCHAR(80) NOT NULL, 
	label TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT, 
	revoked_at BIGINT, 
	CONSTRAINT pk_token PRIMARY KEY (id), 
	CONSTRAINT uq_token_secret_digest UNIQUE (secret_digest)
);

CREATE TABLE trace (
	project VARCHAR(32) NOT NULL, 
	id VARCHAR(35) NOT NULL, 
	experiment_number INTEGER NOT NULL, 
	at BIGINT NOT NULL, 
	tags TEXT NOT NULL, 
	record TEXT NOT NULL, 
	CONSTRAINT pk_trace PRIMARY KEY (project, id)
);

CREATE INDEX ix_trace_experiment ON trace (project, experiment_number, at);

CREATE TABLE training_set (
	project VARCHAR(32) NOT NULL, 
	dataset VARCHAR(128) NOT NULL, 
	number INTEGER NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_training_set PRIMARY KEY (project, dataset, number)
);

CREATE TABLE trigger_fire (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	"trigger" VARCHAR(32) NOT NULL, 
	trigger_name VARCHAR(128) NOT NULL, 
	kind VARCHAR(128) NOT NULL, 
	pipeline VARCHAR(128) NOT NULL, 
	cause VARCHAR(250) NOT NULL, 
	outcome VARCHAR(16) NOT NULL, 
	reason TEXT NOT NULL, 
	checks TEXT NOT NULL, 
	facts TEXT NOT NULL, 
	params TEXT NOT NULL, 
	would VARCHAR(16) NOT NULL, 
	as_of BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	settled_at BIGINT, 
	due_at BIGINT, 
	give_up_at BIGINT, 
	called_by VARCHAR(128) NOT NULL, 
	approved_by VARCHAR(128) NOT NULL, 
	pipeline_run VARCHAR(32), 
	CONSTRAINT pk_trigger_fire PRIMARY KEY (id), 
	CONSTRAINT uq_trigger_fire_cause UNIQUE ("trigger", cause)
);

CREATE INDEX ix_trigger_fire_project ON trigger_fire (project, id);

CREATE INDEX ix_trigger_fire_run ON trigger_fire (pipeline_run);

CREATE INDEX ix_trigger_fire_started ON trigger_fire ("trigger", outcome, as_of);

CREATE INDEX ix_trigger_fire_waiting ON trigger_fire (outcome, due_at);

CREATE TABLE trigger_hook (
	"trigger" VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	hook VARCHAR(64) NOT NULL, 
	secret TEXT NOT NULL, 
	previous TEXT NOT NULL, 
	previous_until BIGINT, 
	CONSTRAINT pk_trigger_hook PRIMARY KEY ("trigger"), 
	CONSTRAINT uq_trigger_hook_hook UNIQUE (hook)
);

CREATE TABLE validation (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	dataset VARCHAR(128) NOT NULL, 
	number INTEGER NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_validation PRIMARY KEY (id)
);

CREATE INDEX ix_validation_version ON validation (project, dataset, number);

CREATE TABLE value_matrix (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	number INTEGER NOT NULL, 
	created_at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_value_matrix PRIMARY KEY (id), 
	CONSTRAINT uq_value_matrix UNIQUE (project, model, number)
);

CREATE TABLE value_report (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	number INTEGER NOT NULL, 
	created_at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_value_report PRIMARY KEY (id), 
	CONSTRAINT uq_value_report UNIQUE (project, model, number)
);

CREATE TABLE verdict (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	number INTEGER NOT NULL, 
	passed INTEGER NOT NULL, 
	created_at BIGINT NOT NULL, 
	record TEXT NOT NULL, 
	CONSTRAINT pk_verdict PRIMARY KEY (id)
);

CREATE INDEX ix_verdict_version ON verdict (project, model, number);

CREATE TABLE webhook (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	name VARCHAR(250) NOT NULL, 
	url TEXT NOT NULL, 
	events TEXT NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	secret TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(128) NOT NULL, 
	updated_at BIGINT NOT NULL, 
	description TEXT NOT NULL, 
	CONSTRAINT pk_webhook PRIMARY KEY (id)
);

CREATE INDEX ix_webhook_project ON webhook (project, id);

CREATE TABLE webhook_delivery (
	id VARCHAR(32) NOT NULL, 
	project VARCHAR(32) NOT NULL, 
	webhook VARCHAR(32) NOT NULL, 
	event VARCHAR(64) NOT NULL, 
	once VARCHAR(200) NOT NULL, 
	body TEXT NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	created_at BIGINT NOT NULL, 
	due_at BIGINT NOT NULL, 
	attempts INTEGER NOT NULL, 
	response_status INTEGER, 
	error TEXT NOT NULL, 
	delivered_at BIGINT, 
	CONSTRAINT pk_webhook_delivery PRIMARY KEY (id), 
	CONSTRAINT uq_webhook_delivery_once UNIQUE (webhook, once)
);

CREATE INDEX ix_webhook_delivery_due ON webhook_delivery (status, due_at);
