"""Settings: one frozen record read once, file < environment variable < flag, each value with its source.

The file is ``rung.toml`` in the project's folder or one above. ``server.port`` is ``RUNG_SERVER_PORT`` in the
environment and ``--set server.port=…`` on the command line. Unknown keys are errors that name the nearest known key.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from rung.core.errors import Invalid
from rung.core.records import Name, Record

FILE = "rung.toml"
Port = Annotated[int, Meta(ge=0, le=65535)]
Rate = Annotated[float, Meta(ge=0)]


class ServerSettings(Record):
    """Where the server listens."""

    host: Annotated[str, Meta(description="address to listen on; anything but loopback needs TLS in front")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="TCP port of API, UI and foreign protocols; 0 picks one")] = 7474
    hosts: Annotated[
        str, Meta(description="other names it may be asked by, in a cluster or behind a proxy, with commas; *: any, where no browser calls")
    ] = ""
    grpc_port: Annotated[int, Meta(ge=0, le=65535, description="TCP port of gRPC inference, where grpcio is installed; 0: none")] = 7475
    max_body_mb: Annotated[int, Meta(ge=1, le=4096, description="largest request body, MiB")] = 64

    @property
    def names(self) -> frozenset[str]:
        """Every name it may be asked by."""
        return frozenset({self.host, *(name.strip() for name in self.hosts.split(",") if name.strip())})


class StorageSettings(Record):
    """Where rows and blobs live."""

    database: Annotated[str, Meta(description="database URL; empty: SQLite in the home")] = ""
    blobs: Annotated[str, Meta(description="blob store URL (file:// or s3://); empty: a folder in the home")] = ""


class EngineSettings(Record):
    """How background work runs."""

    workers: Annotated[int, Meta(ge=1, le=256, description="steps that run side by side in one worker")] = 2
    lease_s: Annotated[float, Meta(gt=0, le=3600, description="seconds a worker may be silent before its step is given away")] = 30.0
    executor: Annotated[str, Meta(description="where steps run that name no executor and need no isolation of their own")] = "inline"
    cpus: Annotated[float, Meta(ge=0, description="cores that steps which ask for some may take in one worker; 0: all of the machine")] = (
        0.0
    )
    memory_gb: Annotated[
        float, Meta(ge=0, description="memory that steps which ask for some may take in one worker, GB; 0: the machine's")
    ] = 0.0
    gpus: Annotated[int, Meta(ge=0, le=1024, description="GPUs that one worker may give to steps; 0: all of the machine")] = 0
    cache_environment: Annotated[
        Literal["closure", "lock", "python", "none"],
        Meta(description="which libraries a cache key names: those the step's code reaches, the whole lock, only Python, nothing"),
    ] = "closure"
    cache_undeclared: Annotated[
        bool, Meta(description="let files and variables that an audited run found undeclared enter the keys of its steps")
    ] = False
    ray_address: Annotated[str, Meta(description="Ray cluster that executor ray uses; empty: RAY_ADDRESS, else one on this machine")] = ""
    dask_address: Annotated[
        str, Meta(description="Dask scheduler that executor dask uses; empty: DASK_SCHEDULER_ADDRESS, else workers on this machine")
    ] = ""
    kubernetes_url: Annotated[
        str, Meta(description="Kubernetes API that executor kubernetes uses; empty: the pod's own cluster, else KUBECONFIG")
    ] = ""
    kubernetes_namespace: Annotated[str, Meta(description="namespace of the jobs of executor kubernetes")] = "default"
    kubernetes_image: Annotated[str, Meta(description="container image of those jobs; it has Rung and what the steps import")] = ""
    tick_s: Annotated[float, Meta(gt=0, le=60, description="seconds between looks at queue, schedules and outbox")] = 0.5
    recorded_variables: Annotated[
        tuple[str, ...], Meta(description="environment variables recorded with each pipeline run, besides those known to change numbers")
    ] = ()


class ServingSettings(Record):
    """How predictions are answered and kept."""

    log_fsync: Annotated[bool, Meta(description="wait for the disk, not only the kernel, before a prediction is answered")] = False
    segment_mb: Annotated[int, Meta(ge=1, le=1024, description="size at which a segment of the prediction log is sealed, MiB")] = 16
    log_days: Annotated[int, Meta(ge=0, le=36_500, description="days that predictions stay in the log; 0: for good")] = 0
    max_rows: Annotated[int, Meta(ge=1, le=10_000_000, description="rows of one request")] = 100_000
    timeout_ms: Annotated[int, Meta(ge=1, le=3_600_000, description="time an answer may take, milliseconds; then 504")] = 60_000
    queue: Annotated[int, Meta(ge=1, le=1_000_000, description="requests that may wait for one version; more are answered 503")] = 1024
    requests_per_s: Annotated[float, Meta(ge=0, description="requests of one token to one deployment, each second; 0: no bound")] = 0.0
    rows_per_day: Annotated[int, Meta(ge=0, description="rows of one token from one deployment, each UTC day; 0: no bound")] = 0
    body_s: Annotated[float, Meta(gt=0, le=3600, description="seconds a caller may take to send a request's body; then 408")] = 30.0
    header_s: Annotated[float, Meta(gt=0, le=3600, description="seconds a caller may take to send a request's headers")] = 10.0
    large_kb: Annotated[int, Meta(ge=1, description="size from which a body is answered beside the event loop, KiB")] = 128
    workers: Annotated[int, Meta(ge=0, le=256, description="processes of `rung serve` that answer on its port; 0: itself alone")] = 0
    access_log: Annotated[str, Meta(description="file of JSON lines, one an answered request; - is standard error; empty: none")] = ""
    access_share: Annotated[
        float, Meta(ge=0, le=1, description="share of answers with status 200 in the access log; others are all in it")
    ] = 1.0
    spans: Annotated[bool, Meta(description="tell each request as a span of OpenTelemetry, which must be installed")] = False
    open: Annotated[
        bool, Meta(description="answer predictions of a bundle without a token, behind something that asks for rights itself")
    ] = False
    log_mb: Annotated[
        int,
        Meta(
            ge=0,
            description="disk that one home's segments of the prediction log may take, MiB; then deployments refuse or shed; 0: no bound",
        ),
    ] = 0
    caller_s: Annotated[
        float, Meta(ge=1, le=3600, description="seconds an inference node remembers a caller before it asks the platform again")
    ] = 30.0
    caller_offline_s: Annotated[
        float, Meta(ge=0, le=31_536_000, description="seconds it remembers one while the platform does not answer")
    ] = 86_400.0
    node_name: Annotated[str, Meta(max_length=200, description="what an inference node calls itself; empty: the machine's name")] = ""
    node_cache_mb: Annotated[
        int, Meta(ge=0, description="disk that an inference node may take for versions which are not deployed any more, MiB")
    ] = 1024
    drain_s: Annotated[
        float, Meta(ge=0, le=600, description="seconds after SIGTERM in which requests are taken yet while health says that it drains")
    ] = 0.0
    memory_mb: Annotated[
        int, Meta(ge=0, description="memory that loaded models may take in one process, MiB; the least used are unloaded; 0: no bound")
    ] = 0


class RegistrySettings(Record):
    """Which models are taken."""

    allow_pickles: Annotated[bool, Meta(description="open pickled models in a confined process, which writes them anew without code")] = (
        False
    )
    allow_code: Annotated[
        bool, Meta(description="take models that bring Python code of their own, and serve them from confined processes of their own")
    ] = False
    allow_unconfined_code: Annotated[
        bool, Meta(description="serve such models also where the kernel cannot confine them; their code then has this server's rights")
    ] = False


class WebhookSettings(Record):
    """How webhooks are called."""

    allow_private: Annotated[bool, Meta(description="let webhooks name addresses of this machine and of private networks")] = False
    timeout_s: Annotated[float, Meta(gt=0, le=60, description="seconds a receiver may take to answer")] = 10.0


class OpenLineageSettings(Record):
    """Where runs of pipelines are told as OpenLineage events."""

    url: Annotated[str, Meta(description="address of the receiver, e.g. http://marquez:5000; empty: none")] = ""
    endpoint: Annotated[str, Meta(description="path of the receiver that takes events")] = "api/v1/lineage"
    namespace: Annotated[str, Meta(min_length=1, description="namespace of jobs and datasets")] = "rung"
    api_key: Annotated[str, Meta(description="bearer token for the receiver")] = ""
    timeout_s: Annotated[float, Meta(gt=0, le=300, description="seconds the receiver may take to answer")] = 10.0


class Rates(Record):
    """Prices from which the cost ledger is computed, in ``currency``."""

    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$", description="ISO 4217 code of every amount")] = "USD"
    cpu_hour: Annotated[float, Meta(ge=0, description="price of one CPU core for one hour")] = 0.05
    gpu_hour: Annotated[float, Meta(ge=0, description="price of one GPU for one hour")] = 2.0
    gb_month: Annotated[float, Meta(ge=0, description="price of one stored GiB for one month")] = 0.03
    person_hour: Annotated[float, Meta(ge=0, description="price of one hour of a person's work")] = 60.0
    prediction_1000: Annotated[float, Meta(ge=0, description="price of serving one thousand predictions")] = 0.001


class EnvironmentSettings(Record):
    """One place packages and deployments live in; everything left out is as in the base settings."""

    url: Annotated[str, Meta(description="address of that environment's server; empty: this one")] = ""
    approvals: Annotated[int, Meta(ge=0, le=10, description="approvals a promotion there needs")] = 0


class Settings(Record):
    """Every setting of Rung."""

    home: Annotated[str, Meta(description="folder of the embedded store, relative to rung.toml")] = ".rung"
    project: Annotated[Name, Meta(description="project that requests go to when they name none")] = "default"
    environment: Annotated[Name, Meta(description="environment this process works in")] = "dev"
    url: Annotated[str, Meta(description="server to talk to; empty: the embedded platform in the home")] = ""
    token: Annotated[str, Meta(description="token to authenticate with; empty: the home's own token file")] = ""
    pipelines: Annotated[tuple[str, ...], Meta(description="Python modules that define pipelines and feature views")] = ("pipelines",)
    spool: Annotated[
        str,
        Meta(description="folder for what was logged and not sent yet; empty: in the home, or with a server in the user's state folder"),
    ] = ""
    spool_mb: Annotated[int, Meta(ge=1, description="size at which the spool takes no more, MiB")] = 4096
    offline: Annotated[bool, Meta(description="keep runs in the spool until `rung sync` sends them")] = False
    system_metrics: Annotated[bool, Meta(description="log how busy the machine is while a run is open")] = False
    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    engine: EngineSettings = EngineSettings()
    serving: ServingSettings = ServingSettings()
    registry: RegistrySettings = RegistrySettings()
    webhooks: WebhookSettings = WebhookSettings()
    openlineage: OpenLineageSettings = OpenLineageSettings()
    rates: Rates = Rates()
    secrets: Annotated[dict[Name, str], Meta(description="where each secret lies: env:VARIABLE or file:PATH, never its value")] = {}
    environments: dict[Name, EnvironmentSettings] = {}
    triggers: Annotated[dict[Name, dict[str, Any]], Meta(description="triggers by name, as `rung trigger add` takes them")] = {}
    folder: Annotated[str, Meta(description="the project's folder; found, not set")] = ""

    @property
    def named_project(self) -> str | None:
        """The project that requests name; None where nothing but the default is said: it is the token's own."""
        return None if self.project == "default" else self.project

    @property
    def home_path(self) -> Path:
        """Absolute path of the home."""
        return (Path(self.folder or ".") / self.home).resolve()


class SettingValue(Record):
    """One setting, its value and where that came from; secrets are masked."""

    name: str
    value: str
    source: str
    doc: str


def load_settings(
    folder: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Settings:
    """Settings in force in a folder. Raises Invalid for unreadable files, unknown keys and wrong values."""
    return _settled(folder, os.environ if environ is None else environ, flags or {})[0]


def explained_settings(
    folder: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> tuple[Settings, tuple[SettingValue, ...]]:
    """Settings in force in a folder, and each value with its source."""
    settings, sources = _settled(folder, os.environ if environ is None else environ, flags or {})
    return settings, tuple(_explain(settings, sources))


def _settled(folder: Path | None, environ: Mapping[str, str], flags: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    path = find_file(folder or Path.cwd())
    plain = _read(path) if path else {}
    _refuse_unknown(plain, Settings, str(path))
    sources = dict.fromkeys(_flatten(plain), str(path))
    for name in _names(Settings):
        variable = "RUNG_" + name.replace(".", "_").upper()
        if variable in environ:
            _set(plain, name, environ[variable])
            sources[name] = variable
    for name, value in flags.items():
        if name not in set(_names(Settings)):
            raise _unknown(name, list(_names(Settings)), "--set")
        _set(plain, name, value)
        sources[name] = "flag"
    plain["folder"] = str(path.parent if path else (folder or Path.cwd()).resolve())
    try:
        settings = msgspec.convert(plain, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"Settings: {error}.", code="settings.invalid", hint=f"Look at {path or 'the environment'}.") from None
    return settings, sources


def find_file(folder: Path) -> Path | None:
    """The nearest ``rung.toml`` in the folder or above it."""
    for place in (folder.resolve(), *folder.resolve().parents):
        if (place / FILE).is_file():
            return place / FILE
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise Invalid(f"{path} cannot be read: {error}.", code="settings.unreadable", hint="Mend the file.") from None


def _refuse_unknown(plain: Any, kind: Any, where: str, prefix: str = "") -> None:
    if kind is Settings.__annotations__ or not isinstance(plain, dict):
        return
    known = {f.name: f.type for f in _fields(kind) if f.name != "folder"}
    for key, value in plain.items():
        if key not in known:
            raise _unknown(prefix + key, [prefix + name for name in known], where)
        inner = known[key]
        if key == "environments" and isinstance(value, dict):
            for name, section in value.items():
                _refuse_unknown(section, EnvironmentSettings, where, f"environments.{name}.")
        elif isinstance(inner, type) and issubclass(inner, Record):
            _refuse_unknown(value, inner, where, f"{key}.")


def _unknown(name: str, known: list[str], where: str) -> Invalid:
    from difflib import get_close_matches  # noqa: PLC0415 - for mistakes alone

    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return Invalid(
        f"{where}: there is no setting {name!r}.",
        code="settings.unknown_key",
        hint=f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}.",
    )


@cache
def _fields(kind: Any) -> tuple[Any, ...]:
    return msgspec.structs.fields(kind)


def _names(kind: Any, prefix: str = "") -> Iterator[str]:
    for field in _fields(kind):
        if field.name in {"folder", "environments", "triggers", "secrets"}:
            continue
        if isinstance(field.type, type) and issubclass(field.type, Record):
            yield from _names(field.type, f"{field.name}.")
        else:
            yield prefix + field.name


def _flatten(plain: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in plain.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def _set(plain: dict[str, Any], name: str, value: str) -> None:
    *sections, key = name.split(".")
    for section in sections:
        plain = plain.setdefault(section, {})
    plain[key] = [part.strip() for part in value.split(",")] if key in {"pipelines", "recorded_variables"} else value


def _explain(settings: Settings, sources: Mapping[str, str]) -> Iterator[SettingValue]:
    for name in [*_names(Settings), *(f"environments.{e}.{k}" for e in settings.environments for k in ("url", "approvals"))]:
        value: Any = settings
        kind: Any = Settings
        doc = ""
        for part in name.split("."):
            if isinstance(value, dict):
                value, kind = value[part], EnvironmentSettings
                continue
            field = next(f for f in _fields(kind) if f.name == part)
            doc = next((m.description or "" for m in getattr(field.type, "__metadata__", ()) if isinstance(m, Meta)), "")
            value, kind = getattr(value, part), field.type
        shown = "********" if name in {"token", "openlineage.api_key"} and value else str(value)
        yield SettingValue(name=name, value=shown, source=sources.get(name, "default"), doc=doc)
