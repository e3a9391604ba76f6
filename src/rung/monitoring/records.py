"""Records and requests of monitoring."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from rung.core.events import Event
from rung.core.records import Count, Digest, Id, Instant, Key, Line, Name, Number, Record, Scalar, Share, Text
from rung.core.requests import Effect, Request
from rung.monitoring.labelling import GetLabel as GetLabel
from rung.monitoring.labelling import Label as Label
from rung.monitoring.labelling import LabelBatch as LabelBatch
from rung.monitoring.labelling import LabelDelay as LabelDelay
from rung.monitoring.slice_records import ArmSlice as ArmSlice

Cause = Literal[
    "data_break", "training_serving_skew", "leakage", "immature_labels", "concept_drift", "prior_shift", "covariate_shift", "none"
]
DriftVerdict = Literal["drifted", "stable", "insufficient"]
ColumnKind = Literal["numeric", "category"]
QualityKind = Literal["nulls", "new_category", "out_of_range", "stuck", "type", "missing", "rows", "duplicates", "unit", "relation", "expectation"]  # fmt: skip
Metric = Literal["auc", "log_loss", "brier", "accuracy", "mae", "rmse"]
AlertRule = Literal["quality", "drift", "score", "performance"]
IncidentStatus = Literal["open", "diagnosed", "decided", "closed"]


class Monitor(Record):
    """The standing question to one deployment, about every row that answered a caller.

    Windows are ``window_days`` long, cut from ``anchor``; performance is judged over the last ``performance_windows`` of them.
    The reference is the given dataset version, else the one the version was trained on that answered most rows.
    """

    id: Id
    deployment: Name
    window_days: int
    anchor: Instant
    performance_windows: int
    reference_dataset: str | None
    reference_number: int | None
    drift_floor: float
    category_floor: float
    metric: Metric
    alert_line: float | None
    allowed_loss: float
    label_delay_s: float
    positive: Scalar
    columns: tuple[str, ...]
    created_at: Instant


class ColumnDrift(Record):
    """How one column of a window differs from the reference.

    ``effect`` is the Kolmogorov-Smirnov distance of a number, the total variation distance of a category; ``smallest_effect`` what
    this many rows could have shown with a power of 0.8.
    """

    column: str
    kind: ColumnKind
    test: str
    effect: float
    floor: float
    p: float
    p_adjusted: float
    verdict: DriftVerdict
    rows_reference: Count
    rows_current: Count
    smallest_effect: float
    importance: float | None = None
    scores: dict[str, float] = {}


class QualityFault(Record):
    """Something wrong with the input itself: always evaluated, raised at once."""

    column: str
    kind: QualityKind
    share: float
    reference_share: float
    statement: Line
    since: Instant | None = None
    until: Instant | None = None


class Performance(Record):
    """What the labels that had arrived by ``as_of`` say about the predictions of a period, whichever arm answered them.

    ``loss`` is that of ``version`` alone, which answered most rows: points of ``metric`` by which it is worse than in its own
    evaluation. ``low`` and ``high`` bound ``value``, ``loss_low`` and ``loss_high`` bound ``loss``, at 95 %.
    """

    start: Instant
    end: Instant
    as_of: Instant
    rows: Count
    labelled: Count
    labelled_share: Share
    metric: Metric
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reference: float | None = None
    loss: float | None = None
    loss_low: float | None = None
    loss_high: float | None = None
    metrics: dict[str, float] = {}
    base_rate: float | None = None
    mean_score: float | None = None
    model: str | None = None
    version: int | None = None
    final: bool = False


class RetrainingGain(Record):
    """What recent labels could add to the served scores: a correction learnt on some days, measured on days held out.

    ``gain`` is log loss saved per row, with its 95 % interval between days, a lower bound of what a model trained anew may gain;
    ``served`` and ``corrected`` count outcomes (tp, fp, fn, tn) at the model's threshold.
    """

    rows: Count
    days: Count
    gain: float
    low: float
    high: float
    t: float
    auc_served: float
    auc_corrected: float
    served: dict[str, int]
    corrected: dict[str, int]


class WindowReport(Record):
    """Rows [start, end) of a deployment's predictions against the reference.

    Final once every label is due. ``recent`` is the performance over the last few windows, which the alert line judges; ``gain``
    what labels of 28 days could add to the scores. ``version`` answered most rows; ``slices`` tell arms and versions apart.
    """

    id: Id
    deployment: Name
    start: Instant
    end: Instant
    rows: Count
    model: str | None
    version: int | None
    reference: str | None
    drift: tuple[ColumnDrift, ...]
    quality: tuple[QualityFault, ...]
    score: ColumnDrift | None
    performance: Performance | None
    recent: Performance | None
    gain: RetrainingGain | None = None
    slices: tuple[ArmSlice, ...] = ()
    labelled_share: Share
    final: bool
    as_of: Instant
    sentence: Line = ""


class Alert(Record):
    """A monitor crossed its line in one window."""

    id: Id
    deployment: Name
    rule: AlertRule
    columns: tuple[str, ...]
    start: Instant
    end: Instant
    message: Line
    incident: Id
    raised_at: Instant


class Note(Record):
    """What somebody added to an incident."""

    at: Instant
    principal: str
    text: Text


class Fact(Record):
    """One measured sentence of evidence: the value and the line it was held against."""

    statement: Line
    value: float | None = None
    line: float | None = None
    column: str | None = None


class Finding(Record):
    """One possible cause with its evidence; ``strength`` ranks findings that stand on the same step of the ladder."""

    cause: Cause
    strength: Share
    summary: Line
    facts: tuple[Fact, ...] = ()
    columns: tuple[str, ...] = ()
    since: Instant | None = None
    curable: bool = False
    remedy: Line = ""


class Diagnosis(Record):
    """Ranked causes of an incident. The first finding decides; ``curable`` means that retraining would help."""

    id: Id
    incident: Id
    deployment: Name
    cause: Cause
    curable: bool
    summary: Line
    findings: tuple[Finding, ...]
    start: Instant
    end: Instant
    as_of: Instant
    loss: Performance | None = None
    gain: RetrainingGain | None = None
    created_at: Instant


class Incident(Record):
    """One trouble of one deployment, from its first alert to its closing."""

    id: Id
    number: Number
    deployment: Name
    rule: AlertRule
    status: IncidentStatus
    title: Line
    columns: tuple[str, ...]
    start: Instant
    end: Instant
    alerts: Count
    cause: Cause | None = None
    diagnosis: Id | None = None
    decision: str | None = None
    resolution: Text | None = None
    notes: tuple[Note, ...] = ()
    opened_at: Instant
    closed_at: Instant | None = None


class MonitorReport(Record):
    """What one run of a monitor computed, raised and opened."""

    deployment: Name
    as_of: Instant
    watermark: Instant | None
    windows: tuple[WindowReport, ...]
    alerts: tuple[Alert, ...] = ()
    incidents: tuple[Incident, ...] = ()
    sentence: Line = ""


class AddMonitor(Request[Monitor]):
    """Watch a deployment. ``replace`` changes the monitor it already has; without it, AlreadyExists."""

    operation = "monitoring.add_monitor"
    permission = "monitor:write"
    deployment: Name
    window_days: Annotated[int, Meta(ge=1, le=366)] = 7
    anchor: Instant | None = None
    performance_windows: Annotated[int, Meta(ge=1, le=60)] = 4
    reference_dataset: Name | None = None
    reference_number: Number | None = None
    drift_floor: Share = 0.1
    category_floor: Share = 0.05
    metric: Metric | None = None
    alert_line: float | None = None
    allowed_loss: Annotated[float, Meta(ge=0)] = 0.02
    label_delay_s: Annotated[float, Meta(ge=0, le=1e9)] = 86_400.0
    positive: Scalar = None
    columns: tuple[str, ...] = ()
    replace: bool = False


class ListMonitors(Request[tuple[Monitor, ...]]):
    """Every monitor of the project, by deployment."""

    operation = "monitoring.list_monitors"
    permission = "monitor:read"
    effect: ClassVar[Effect] = "read"


class GetMonitor(Request[Monitor]):
    """The monitor of a deployment. Raises NotFound."""

    operation = "monitoring.get_monitor"
    permission = "monitor:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name


class RunMonitors(Request[MonitorReport]):
    """Compute every complete window that is not final, raise alerts, open incidents. Running twice changes nothing."""

    operation = "monitoring.run"
    permission = "monitor:run"
    effect: ClassVar[Effect] = "work"
    deployment: Name
    as_of: Instant | None = None


class GetReport(Request[MonitorReport]):
    """The stored windows of a deployment in order, with its alerts and incidents that are not closed."""

    operation = "monitoring.report"
    permission = "monitor:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name
    start: Instant | None = None
    end: Instant | None = None


class MeasurePerformance(Request[tuple[Performance, ...]]):
    """Realised performance of what a deployment answered over periods, by labels that had arrived at ``as_of``.

    The periods lie between consecutive ``bounds``: n + 1 instants give n records.
    """

    operation = "monitoring.measure_performance"
    permission = "monitor:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name
    bounds: Annotated[tuple[Instant, ...], Meta(min_length=2, max_length=400)]
    as_of: Instant | None = None


class AddLabels(Request[LabelBatch]):
    """Bring labels: a Parquet blob with columns prediction_id, label and optionally event_time, arrived_at; or rows.

    A later arrival corrects an earlier one of the same prediction; the same delivery twice is one batch.
    """

    operation = "monitoring.add_labels"
    permission = "label:write"
    effect: ClassVar[Effect] = "work"
    deployment: Name
    blob: Digest | None = None
    labels: tuple[Label, ...] = ()
    source: Line = ""


class ListLabelBatches(Request[tuple[LabelBatch, ...]]):
    """Deliveries of labels to a deployment, oldest first."""

    operation = "monitoring.list_label_batches"
    permission = "label:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name


class GetLabelDelay(Request[LabelDelay]):
    """Distribution of the time from prediction to label, as known at ``as_of``."""

    operation = "monitoring.label_delay"
    permission = "label:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name
    as_of: Instant | None = None


class ListAlerts(Request[tuple[Alert, ...]]):
    """Alerts of a deployment or an incident, oldest first."""

    operation = "monitoring.list_alerts"
    permission = "monitor:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name | None = None
    incident: Key | None = None


class ListIncidents(Request[tuple[Incident, ...]]):
    """Incidents, newest first."""

    operation = "monitoring.list_incidents"
    permission = "incident:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name | None = None
    status: IncidentStatus | None = None


class GetIncident(Request[Incident]):
    """An incident by number or id. Raises NotFound."""

    operation = "monitoring.get_incident"
    permission = "incident:read"
    effect: ClassVar[Effect] = "read"
    incident: Key


class AddNote(Request[Incident]):
    """Write a note to an incident."""

    operation = "monitoring.add_note"
    permission = "incident:write"
    incident: Key
    text: Text


class SetIncidentDecision(Request[Incident]):
    """Note which decision answers an incident."""

    operation = "monitoring.set_incident_decision"
    permission = "incident:write"
    incident: Key
    decision: Key


class CloseIncident(Request[Incident]):
    """Close an incident, saying how it ended. Raises Conflict when it is closed already."""

    operation = "monitoring.close_incident"
    permission = "incident:write"
    incident: Key
    resolution: Text
    as_of: Instant | None = None


class Diagnose(Request[Diagnosis]):
    """Find the cause of an incident from the evidence known at ``as_of``; asked twice for the same instant, the first answer stands."""

    operation = "monitoring.diagnose"
    permission = "incident:run"
    effect: ClassVar[Effect] = "work"
    incident: Key
    as_of: Instant | None = None


class GetDiagnosis(Request[Diagnosis]):
    """A diagnosis by its id, or the newest of an incident by the incident's id or number. Raises NotFound."""

    operation = "monitoring.get_diagnosis"
    permission = "incident:read"
    effect: ClassVar[Effect] = "read"
    diagnosis: Key


class LabelsAdded(Event):
    """Labels of a deployment arrived."""

    kind: ClassVar[str] = "monitoring.labels_added"
    deployment: Name
    rows: Count


class WindowsMeasured(Event):
    """A run of a monitor measured windows, anew or for the first time; the first of them begins at ``start``."""

    kind: ClassVar[str] = "monitoring.windows_measured"
    deployment: Name
    windows: tuple[Id, ...]
    start: Instant
    as_of: Instant


class AlertRaised(Event):
    """A monitor crossed its line."""

    kind: ClassVar[str] = "monitoring.alert_raised"
    alert: Id
    deployment: Name
    rule: AlertRule
    incident: Id


class IncidentOpened(Event):
    """A new trouble; ``as_of`` is the instant of the monitor's run, which a replayed diagnosis must share."""

    kind: ClassVar[str] = "monitoring.incident_opened"
    incident: Id
    deployment: Name
    rule: AlertRule
    as_of: Instant


class IncidentDiagnosed(Event):
    """The cause of an incident was found; ``curable`` means that retraining would help."""

    kind: ClassVar[str] = "monitoring.incident_diagnosed"
    incident: Id
    diagnosis: Id
    deployment: Name
    cause: Cause
    curable: bool
    as_of: Instant


class IncidentClosed(Event):
    """An incident ended."""

    kind: ClassVar[str] = "monitoring.incident_closed"
    incident: Id
    deployment: Name
    resolution: Text
