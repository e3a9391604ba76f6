"""From a deployment as it is wished to one that answers: versions loaded and warmed up, its checks, bounds and meters made once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import Invalid, NotFound, Unavailable
from rung.registry.loading import predictor
from rung.registry.own_code import check_allowed
from rung.registry.records import Field, ModelVersion, Signature
from rung.registry.store import RegistryStore
from rung.serving.checking import matrix_check
from rung.serving.inference import Floats, Rows
from rung.serving.keeping import Keeping
from rung.serving.limiting import Bounds, Limiter, bounds
from rung.serving.log import PredictionLog
from rung.serving.metrics import BOARD, Meter
from rung.serving.options import DeploymentOptions, RuntimeOptions
from rung.serving.records import Deployment, Route, RoutingState
from rung.serving.routing.family import Router, router_of
from rung.serving.scoring import Scoring
from rung.storage.scope import Scope

if TYPE_CHECKING:
    from rung.registry.predictor import Predictor
    from rung.serving.explaining import Explainers
    from rung.serving.express import Express
    from rung.serving.graph.running import Graph

LOG = logging.getLogger("rung.serving")
_GRAPH_THREADS = 8


@dataclass(frozen=True, eq=False)
class LiveRoute:
    """A route with its model loaded. ``columns`` puts the deployment's columns in this version's order; None when it is the same.

    ``names``, ``dtypes`` and ``outputs`` are those of the version, for the log.
    """

    route: Route
    version: ModelVersion
    scoring: Scoring
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    outputs: tuple[str, ...]
    columns: NDArray[np.intp] | None = None

    @property
    def arm(self) -> str:
        """The arm it answers for."""
        return self.route.arm

    @property
    def predictor(self) -> Predictor:
        """The loaded version."""
        return self.scoring.predictor

    def fitted(self, rows: Rows) -> Rows:
        """The rows with this version's columns."""
        if self.columns is None:
            return rows
        if rows.matrix is not None:
            return Rows(matrix=np.ascontiguousarray(rows.matrix[:, self.columns]))
        assert rows.frame is not None  # noqa: S101 - one of the two is set
        return Rows(frame=rows.frame.select(self.names))


@dataclass(frozen=True, eq=False)
class LiveDeployment:
    """A deployment ready to answer; what codecs may know of it is ``inference.Target``.

    ``version`` is as callers see it: the stable one, with the graph's inputs where there is a graph. ``models`` are versions that
    the graph asks besides. ``plain``: one version that scores inline answers everything, which is the shortest way.
    """

    deployment: Deployment
    project: str
    name: str
    revision: int
    options: DeploymentOptions
    version: ModelVersion
    numeric: bool
    stable: LiveRoute
    routes: tuple[LiveRoute, ...]
    by_arm: Mapping[str, LiveRoute]
    shadows: tuple[LiveRoute, ...]
    router: Router | None
    graph: Graph | None
    models: Mapping[str, Scoring]
    log: PredictionLog
    keeping: Keeping | None
    meter: Meter
    check: Callable[[Floats], None]
    bounds: Bounds
    limiter: Limiter
    plain: bool
    names: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    pinned_to: dict[str, LiveDeployment] = field(default_factory=dict)
    explainers: Explainers | None = None

    @property
    def scorings(self) -> tuple[Scoring, ...]:
        """Every loaded version it may ask."""
        return (*(live.scoring for live in self.routes), *self.models.values())

    def pinned(self, number: str) -> LiveDeployment:
        """The deployment with all traffic on one of the versions it serves. Raises NotFound."""
        held = self.pinned_to.get(number)
        if held is not None:
            return held
        found = next((route for route in self.routes if str(route.version.number) == number), None)
        if found is None:
            raise NotFound(
                f"Deployment {self.name!r} does not serve version {number}.",
                code="serving.no_version",
                hint=f"It serves {', '.join(sorted({str(route.version.number) for route in self.routes}))}.",
            )
        alone = found if self.graph else replace(found, columns=None)
        made = self._through_graph(alone) if self.graph else replace(
            self, version=found.version, numeric=found.predictor.numeric, stable=alone, routes=(alone,), by_arm={}, shadows=(),
            router=None, graph=None, check=matrix_check(found.version.signature), plain=found.scoring.inline, names=found.names,
            dtypes=found.dtypes, pinned_to={},
        )  # fmt: skip
        self.pinned_to[number] = made
        return made

    def _through_graph(self, route: LiveRoute) -> LiveDeployment:
        assert self.graph is not None  # noqa: S101 - asked before
        return replace(
            self, version=self.graph.facade(route.version), stable=route, routes=(route,), by_arm={}, shadows=(), router=None, pinned_to={}
        )

    @cached_property
    def express(self) -> dict[str, Express | None]:
        """Its express ways, by codec; None for a codec without one. Filled when they are asked for."""
        return {}

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """Threads of this deployment's graph, where it may wait; others' are not held up by it."""
        return ThreadPoolExecutor(_GRAPH_THREADS, thread_name_prefix=f"rung-graph-{self.name}")


_ISOLATED_S = 60.0  # a model in a process of its own that is silent for so long is taken to hang


def prepared(
    scope: Scope, deployment: Deployment, versions: list[ModelVersion], *, before: LiveDeployment | None, state: RoutingState | None,
    log: PredictionLog,
) -> LiveDeployment:  # fmt: skip
    """The deployment ready to answer. Raises what keeps a version or the graph from loading."""
    fresh: list[Scoring] = []
    try:
        return _prepared(scope, deployment, versions, before, state, log, fresh)
    except BaseException:
        for scoring in fresh:
            scoring.close()
        raise


def _prepared(
    scope: Scope, deployment: Deployment, versions: list[ModelVersion], before: LiveDeployment | None, state: RoutingState | None,
    log: PredictionLog, fresh: list[Scoring],
) -> LiveDeployment:  # fmt: skip
    options, settings = deployment.options, scope.settings
    own = bounds(options.limits, settings.serving, settings.server.max_body_mb)

    def scoring_of(version: ModelVersion) -> Scoring:
        held = _kept(before, version, options.runtime, own)
        if held is None:
            fresh.append(held := _scoring(scope, version, options.runtime, own))
        return held

    stable_version = next(v for route, v in zip(deployment.routes, versions, strict=True) if route.arm == "stable")
    routes = []
    for route, version in zip(deployment.routes, versions, strict=True):
        routes.append(_route(route, version, scoring_of(version), stable_version.signature))
    stable = next(live for live in routes if live.arm == "stable")
    graph = _graph(scope, deployment, stable_version)
    fields = stable_version.signature.inputs if graph is None else graph.fields
    shadows, router = tuple(live for live in routes if live.arm == "shadow"), router_of(deployment, state)
    return LiveDeployment(
        deployment=deployment, project=scope.project, name=deployment.name, revision=deployment.revision, options=options,
        version=stable_version if graph is None else graph.facade(stable_version),
        numeric=stable.predictor.numeric if graph is None else graph.numeric, stable=stable, routes=tuple(routes),
        by_arm={live.arm: live for live in routes} | {"holdout": stable}, shadows=shadows, router=router, graph=graph,
        models=_models(scope, graph, scoring_of), log=log, keeping=log.keeping(options.logging),
        meter=BOARD.meter(scope.project, deployment.name, str(stable_version.number)), check=matrix_check(Signature(inputs=fields)),
        bounds=own, limiter=Limiter(scope.home, f"{scope.project}/{deployment.name}", own),
        plain=stable.scoring.inline and router is None and graph is None and not shadows, names=_names(fields) if graph is None else graph.names,
        dtypes=_dtypes(fields) if graph is None else graph.dtypes, explainers=_explainers(scope, deployment.name),
    )  # fmt: skip


def _explainers(scope: Scope, deployment: str) -> Explainers:
    from rung.serving.explaining import Explainers  # noqa: PLC0415 - it needs what is above
    from rung.serving.graph.surroundings import PlatformSurroundings  # noqa: PLC0415 - see above

    return Explainers(lambda version: PlatformSurroundings(scope, deployment, version))


def _route(route: Route, version: ModelVersion, scoring: Scoring, asked: Signature) -> LiveRoute:
    fields = version.signature.inputs
    return LiveRoute(
        route=route, version=version, scoring=scoring, names=_names(fields), dtypes=_dtypes(fields),
        outputs=tuple(str(one) for one in version.classes) if version.task == "multiclass" else (), columns=_order(version, asked),
    )  # fmt: skip


def _names(fields: tuple[Field, ...]) -> tuple[str, ...]:
    return tuple(field.name for field in fields)


def _dtypes(fields: tuple[Field, ...]) -> tuple[str, ...]:
    return tuple(field.dtype for field in fields)


def _scoring(scope: Scope, version: ModelVersion, options: RuntimeOptions, own: Bounds) -> Scoring:
    """A version loaded, here or in a process of its own, and warmed up."""
    code = _runs_code(version)
    if options.isolated or options.locked or code:
        return _apart(scope, version, options, own, code=code)
    scoring = Scoring(
        predictor(scope.blobs, version, engine=options.engine, device=options.device),
        options,
        queue=own.queue,
        program=_program(version, options),
    )
    _warm(scoring, options.warm_up)
    return scoring


def _apart(scope: Scope, version: ModelVersion, options: RuntimeOptions, own: Bounds, *, code: bool) -> Scoring:
    """A version in a process of its own; confined, and only where that is allowed, when it brings code."""
    from rung.serving.isolated.locked import locked_python  # noqa: PLC0415 - rarely needed
    from rung.serving.isolated.scoring import isolated_predictor  # noqa: PLC0415 - see above

    registry = scope.settings.registry
    if code:
        check_allowed(version.format, allowed=registry.allow_code)
    held, process = isolated_predictor(
        scope.blobs, version, scope.home, timeout_s=own.timeout_s or _ISOLATED_S, memory_mb=options.memory_mb, engine=options.engine,
        device=options.device, python=locked_python(scope.blobs, version, scope.home) if options.locked else "",
        confined=code, unconfined=registry.allow_unconfined_code,
    )  # fmt: skip
    return Scoring(
        held, options, queue=own.queue, let_go=lambda now: process.close() if now else process.let_go(), program=_program(version, options)
    )


def _program(version: ModelVersion, options: RuntimeOptions) -> str:
    """The artifact that a version is to score by; empty: its own library does."""
    return "" if version.engine is None or options.engine == "native" else version.engine.artifact


def _runs_code(version: ModelVersion) -> bool:
    """Whether its format runs code of strangers; asked of the family, and so of Polars, only for what was not compiled."""
    if version.engine is not None and version.engine.artifact:
        return False
    from rung.registry.format import FORMATS  # noqa: PLC0415 - see above

    return bool(getattr(FORMATS.get(version.format), "isolated", False))


def _kept(before: LiveDeployment | None, version: ModelVersion, options: RuntimeOptions, own: Bounds) -> Scoring | None:
    """The scoring of a version that answered before in the same way; it keeps its queue."""
    if before is None or before.options.runtime != options or before.bounds.queue != own.queue:
        return None
    wanted = (version.digest, version.number, _program(version, options))
    return next((one for one in before.scorings if (one.predictor.digest, one.predictor.number, one.program) == wanted), None)


def _graph(scope: Scope, deployment: Deployment, own: ModelVersion) -> Graph | None:
    if deployment.options.graph is None or not deployment.options.graph.nodes:
        return None
    from rung.serving.graph import build  # noqa: PLC0415 - only deployments that have one
    from rung.serving.graph.surroundings import PlatformSurroundings  # noqa: PLC0415 - see above

    return build(deployment.options.graph, PlatformSurroundings(scope, deployment.name, own))


def _models(scope: Scope, graph: Graph | None, scoring_of: Callable[[ModelVersion], Scoring]) -> dict[str, Scoring]:
    found = {}
    for name in graph.models if graph else ():
        model, _, number = name.rpartition(":")
        version = scope.read(lambda s, m=model, n=number: RegistryStore(s.connection, s.project).version(m, int(n)))  # type: ignore[misc]
        found[name] = scoring_of(version)
    return found


def _order(version: ModelVersion, asked: Signature) -> NDArray[np.intp] | None:
    """Places of a version's columns among those asked for. Raises Invalid when one is not asked for."""
    wanted, given = [field.name for field in version.signature.inputs], [field.name for field in asked.inputs]
    if wanted == given:
        return None
    lacking = [name for name in wanted if name not in given]
    if lacking:
        raise Invalid(
            f"{version.model}:{version.number} takes {', '.join(lacking)}, which the stable version is not given.",
            code="serving.other_inputs",
            hint="Deploy it as the stable version, under its own inputs.",
        )
    return np.array([given.index(name) for name in wanted], dtype=np.intp)


def _warm(scoring: Scoring, rows: int) -> None:
    """Score a few rows, so that the first caller does not pay for what loads late."""
    if not rows or not scoring.predictor.numeric:
        return
    width = len(scoring.predictor.signature.inputs)
    for height in (1, rows):
        try:
            scoring.now(Rows(matrix=np.zeros((height, width))))
        except Invalid as error:  # zeros need not be rows the model takes
            LOG.debug("warm-up of %s:%s: %s", scoring.predictor.model, scoring.predictor.number, error)
        except Exception as error:
            raise Unavailable(
                f"{scoring.predictor.model}:{scoring.predictor.number} fails on rows of zeros: {type(error).__name__}: {error}",
                code="serving.warm_up",
                hint="Set options.runtime.warm_up to 0 if that is how it should be.",
            ) from error
