"""The public names of ``rung`` with their types; at run time each is loaded from its module on first use."""

from typing import Any

from rung.client.attachments import log_artifacts as log_artifacts
from rung.client.attachments import log_dict as log_dict
from rung.client.attachments import log_figure as log_figure
from rung.client.attachments import log_table as log_table
from rung.client.attachments import log_text as log_text
from rung.client.autolog.switch import autolog as autolog
from rung.client.client import Client as Client
from rung.client.client import connect as connect
from rung.client.current import active_run as active_run
from rung.client.current import current_run as current_run
from rung.client.current import end_run as end_run
from rung.client.current import flush as flush
from rung.client.current import join_run as join_run
from rung.client.current import log_artifact as log_artifact
from rung.client.current import log_dataset as log_dataset
from rung.client.current import log_metric as log_metric
from rung.client.current import log_metrics as log_metrics
from rung.client.current import log_param as log_param
from rung.client.current import log_params as log_params
from rung.client.current import set_tag as set_tag
from rung.client.current import set_tags as set_tags
from rung.client.current import start_run as start_run
from rung.client.data import require_valid as require_valid
from rung.client.inside import context as context
from rung.client.inside import secret as secret
from rung.client.looking import get_run as get_run
from rung.client.looking import history as history
from rung.client.looking import search_runs as search_runs
from rung.client.magic import load_ipython_extension as load_ipython_extension
from rung.client.modelling import log_model as log_model
from rung.client.registry import register_model as register_model
from rung.client.scaling import train_checkpoint as train_checkpoint
from rung.client.scaling import train_on_ray as train_on_ray
from rung.client.system import log_system_metrics as log_system_metrics
from rung.client.tune import get_sweep as get_sweep
from rung.client.tune import stop_sweep as stop_sweep
from rung.client.tune import tune as tune
from rung.client.tuning.space import Choice as Choice
from rung.client.tuning.space import Float as Float
from rung.client.tuning.space import Int as Int
from rung.client.tuning.trial import Pruned as Pruned
from rung.client.tuning.trial import Trial as Trial
from rung.data.records import DatasetRef as DatasetRef
from rung.data.records import Expectation as Expectation
from rung.features.records import Feature as Feature
from rung.features.records import FeatureView as FeatureView
from rung.pipelines.artifacts import Dataset as Dataset
from rung.pipelines.artifacts import File as File
from rung.pipelines.artifacts import Metrics as Metrics
from rung.pipelines.artifacts import Model as Model
from rung.pipelines.artifacts import Report as Report
from rung.pipelines.authoring import pipeline as pipeline
from rung.pipelines.authoring import step as step
from rung.pipelines.branching import either as either
from rung.pipelines.branching import otherwise as otherwise
from rung.pipelines.branching import unmapped as unmapped
from rung.pipelines.branching import when as when
from rung.pipelines.parameters import Param as Param

__version__: str

def __getattr__(name: str) -> Any: ...
