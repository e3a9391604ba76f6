"""Which path is which protocol: from method and path to a codec, a verb, a deployment and a version.

The paths below stand at the root, where they mean the project's only deployment (or ``?deployment=``), and behind
``/deployments/<name>``. What was matched once is remembered, so that a hot path costs one look into a dictionary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl

Verb = Literal[
    "infer", "feedback", "live", "server_ready", "ping", "version", "server_metadata", "models", "metadata", "ready", "status",
    "stats", "index", "load", "unload", "no_method", "no_path",
]  # fmt: skip
OPEN: frozenset[Verb] = frozenset({"live", "server_ready", "ping", "version", "server_metadata", "no_method", "no_path"})
_REMEMBERED = 4096
_LONGEST = 1024


@dataclass(frozen=True, slots=True)
class Matched:
    """One call's meaning. ``deployment`` "" is the project's only one or the query's; ``version`` "" is whichever the router takes.

    ``allow`` names the methods of a path that was asked with another one (verb ``no_method``).
    """

    codec: str
    verb: Verb
    deployment: str = ""
    version: str = ""
    allow: str = ""


Verbs = Mapping[str, Verb]  # method -> verb
_GET, _POST = "GET", "POST"
_INFER: Verbs = {_POST: "infer"}
_PING: Verbs = {_GET: "ping"}

# Paths without a name in them, at the root and behind /deployments/<name>.
_PLAIN: dict[str, tuple[str, Verbs]] = {
    "/v2": ("oip", {_GET: "server_metadata"}),
    "/v2/health/live": ("oip", {_GET: "live"}),
    "/v2/health/ready": ("oip", {_GET: "server_ready"}),
    "/v2/models": ("oip", {_GET: "models"}),
    "/v2/models/stats": ("oip", {_GET: "stats"}),
    "/v2/repository/index": ("oip", {_POST: "index"}),
    "/ping": ("mlflow", _PING),
    "/health": ("mlflow", _PING),
    "/version": ("mlflow", {_GET: "version"}),
    "/invocations": ("mlflow", _INFER),
    "/predict": ("vertex", _INFER),
    "/score": ("azureml", _INFER),
    "/v1/models": ("kserve", {_GET: "models"}),
    "/api/v1.0/predictions": ("seldon", _INFER),
    "/api/v0.1/predictions": ("seldon", _INFER),
    "/api/v1.0/feedback": ("seldon", {_POST: "feedback"}),
    "/api/v0.1/feedback": ("seldon", {_POST: "feedback"}),
}
# What is served behind /deployments/<name>; other paths there are pages.
_BEHIND = frozenset(_PLAIN) - {"/v2/models/stats", "/v2/repository/index", "/v1/models", "/v2/models"}


class Paths:
    """The matcher of one server.

    Args:
        environ: where Vertex says which routes it will ask (``AIP_PREDICT_ROUTE``, ``AIP_HEALTH_ROUTE``).
        pages: whether pages for people are served on the same port; without them ``GET /`` and ``GET /models`` are protocols' too.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, *, pages: bool = True) -> None:
        given = environ or {}
        self._plain = dict(_PLAIN)
        for variable, codec, verbs in (("AIP_PREDICT_ROUTE", "vertex", _INFER), ("AIP_HEALTH_ROUTE", "vertex", _PING)):
            route = given.get(variable, "").rstrip("/")
            if route.startswith("/"):
                self._plain[route] = (codec, verbs)
        if not pages:
            self._plain[""] = ("azureml", _PING)
            self._plain["/models"] = ("sagemaker", {_GET: "models", _POST: "load"})
        self._pages = pages
        self._seen: dict[str, dict[str, Matched]] = {}

    def match(self, method: str, path: str) -> Matched | None:
        """What a call means; None when the path is no scoring protocol's."""
        try:
            return self._seen[method][path]
        except KeyError:
            return self._looked(method, path)

    def _looked(self, method: str, path: str) -> Matched | None:
        if len(path) > _LONGEST or len(method) > 16:  # noqa: PLR2004 - no method is that long, and what is remembered has bounds
            return None
        found = self._parsed(method, path)
        if found is None:
            return None
        held = self._seen.setdefault(method, {}) if len(self._seen) < 16 else {}  # noqa: PLR2004 - made-up methods are not remembered
        if len(held) >= _REMEMBERED:
            held.clear()
        held[path] = found
        return found

    def _parsed(self, method: str, path: str) -> Matched | None:
        path = path.rstrip("/")
        if self._pages and (path in {"/health", "/version"} or path.startswith("/v1/traces")):
            return None  # the tracking server's
        if path in self._plain:
            codec, verbs = self._plain[path]
            return _verb(codec, verbs, method)
        first, _, rest = path[1:].partition("/")
        if first == "deployments":
            return _behind(method, rest)
        if first == "models":
            return self._multi_model(method, rest.split("/"))
        kind = _NAMED.get(first)
        return kind(method, rest.split("/")) if kind else None

    def _multi_model(self, method: str, parts: Sequence[str]) -> Matched | None:
        """SageMaker's multi-model paths. A page lies at ``/models/<name>`` too, where there are pages."""
        match parts:
            case [name, "invoke"] if name:
                return _verb("sagemaker", _INFER, method, name)
            case [name] if name and not (self._pages and method in {_GET, "HEAD"}):
                return _verb("sagemaker", {_GET: "status", "DELETE": "unload"}, method, name)
        return None


def named(headers: Mapping[bytes, bytes], query: bytes) -> str:
    """The deployment that a call without one in its path names: ``?deployment=``, or Azure's or SageMaker's header; "" when none does."""
    if b"deployment=" in query:
        for name, value in parse_qsl(query.decode("latin-1")):
            if name == "deployment":
                return value
    given = headers.get(b"azureml-model-deployment") or headers.get(b"x-amzn-sagemaker-target-model", b"")
    return given.decode("latin-1").removesuffix(".tar.gz") if given else ""


def _verb(codec: str, verbs: Verbs, method: str, deployment: str = "", version: str = "") -> Matched:
    verb = verbs.get(_GET if method == "HEAD" else method)
    if verb is None:
        return Matched(codec, "no_method", deployment, version, ", ".join(verbs))
    return Matched(codec, verb, deployment, version)


def _behind(method: str, rest: str) -> Matched | None:
    """``/deployments/<name>/<path of a protocol>``; pages keep all others."""
    name, _, inner = rest.partition("/")
    path = "/" + inner
    if not name or not inner:
        return None
    if path in _BEHIND:
        codec, verbs = _PLAIN[path]
        return _verb(codec, verbs, method, name)
    first, _, deeper = inner.partition("/")
    if first not in {"v1", "v2"}:
        return None
    found = _NAMED[first](method, deeper.split("/"))
    if found is not None and found.deployment != name:
        return Matched(found.codec, "no_path", name)
    return found


def _open_inference(method: str, parts: Sequence[str]) -> Matched:
    match parts:
        case ["models", name, "versions", version, *last] if version:
            pass
        case ["models", name, *last]:
            version = ""
        case ["repository", "models", name, "load" | "unload" as verb] if name:
            return _verb("oip", {_POST: "load" if verb == "load" else "unload"}, method, name)
        case _:
            return Matched("oip", "no_path")
    verbs = _MODEL.get("/".join(last))
    if not name or verbs is None:
        return Matched("oip", "no_path", name)
    return _verb("oip", verbs, method, name, version)


_MODEL: dict[str, Verbs] = {"": {_GET: "metadata"}, "ready": {_GET: "ready"}, "stats": {_GET: "stats"}, "infer": _INFER}


def _kserve(method: str, parts: Sequence[str]) -> Matched:
    """KServe's first protocol and TF-Serving's: /v1/models/<m>[/versions/<v>][:predict|:explain]."""
    match parts:
        case ["models", last]:
            version = ""
        case ["models", last, "versions", version] if version:
            pass
        case _:
            return Matched("kserve", "no_path")
    asked = version or last
    asked, colon, verb = asked.rpartition(":") if ":" in asked else (asked, "", "")
    name, version = (last, asked) if version else (asked, "")
    if not name or not asked or (colon and verb not in {"predict", "explain"}):
        return Matched("kserve", "no_path", name)
    return _verb("kserve", _INFER if colon else {_GET: "status"}, method, name, version)


def _seldon(method: str, parts: Sequence[str]) -> Matched | None:
    """/seldon/<namespace>/<deployment>/api/v1.0/predictions, as Seldon's ingress has it."""
    match parts:
        case [_, name, "api", "v1.0" | "v0.1", "predictions"] if name:
            return _verb("seldon", _INFER, method, name)
        case [_, name, "api", "v1.0" | "v0.1", "feedback"] if name:
            return _verb("seldon", {_POST: "feedback"}, method, name)
    return None


_NAMED: dict[str, Callable[[str, Sequence[str]], Matched | None]] = {"v2": _open_inference, "v1": _kserve, "seldon": _seldon}
match = Paths().match
