"""Features looked up by an entity's key in a feature view, as of the instant each row asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from msgspec import Meta

from rung.core.records import Name, Number, Record, replaced
from rung.features.records import Feature
from rung.serving.graph.family import GRAPH_NODES, Building, Features, Micros, Plain, Surroundings
from rung.serving.graph.flow import Flow, Shape, kind_of, series_of, values_of
from rung.serving.graph.functions import Kind, Values
from rung.serving.graph.running import Run

if TYPE_CHECKING:
    import polars as pl

MISSING, STALE = "features_missing", "features_stale"
_SECOND = 1_000_000


class LookupSettings(Record):
    """``keys``: the view's entity columns by columns at hand; ``features``: those wanted, all by default; ``defaults`` for what is missing.

    Values older than ``max_age_s`` at the row's instant are used, and flagged.
    """

    view: Name
    number: Number | None = None
    keys: dict[str, str] = {}
    features: tuple[str, ...] = ()
    defaults: dict[str, str | float | bool] = {}
    max_age_s: Annotated[float, Meta(gt=0)] | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """Adds a view's features to the rows."""

    source: str
    view: str
    keys: tuple[tuple[str, str, str], ...]
    wanted: tuple[str, ...]
    defaults: dict[str, str | float | bool]
    max_age_us: int
    find: Callable[[pl.DataFrame, Micros], Features]
    shape: Shape

    def work(self, run: Run) -> Flow:
        """The rows with their features; rows without any, or with old ones, are flagged."""
        flow, times = run.value(self.source), run.times_us
        found = self.find(self._keys(flow), times)
        if not found.present.all():
            run.flag(MISSING, ~found.present)
        if self.max_age_us:
            stale = found.present & (found.events_us < times - self.max_age_us)
            if stale.any():
                run.flag(STALE, stale)
        held = {series.name: series for series in found.columns}
        added = dict(flow.added)
        for name in self.wanted:
            added[name] = self._filled(name, values_of(held[name]))
            run.use(f"{self.view}.{name}", added[name])
        return flow.having(added=added)

    def _keys(self, flow: Flow) -> pl.DataFrame:
        import polars as pl  # noqa: PLC0415 - the join takes frames

        frame = flow.rows.frame
        columns = []
        for entity, name, dtype in self.keys:
            straight = frame is not None and name in flow.places and name not in flow.added
            columns.append(frame[name].alias(entity) if straight and frame is not None else series_of(entity, flow.column(name), dtype))
        return pl.DataFrame(columns)

    def _filled(self, name: str, values: Values) -> Values:
        kind = self.shape.kinds[name]
        if kind == "number":
            values = np.asarray(values, dtype=np.float64)
        if name not in self.defaults:
            return values
        gone = np.array([value is None for value in values]) if kind == "text" else values != values  # noqa: PLR0124 - NaN
        return np.where(gone, np.array(self.defaults[name], dtype=values.dtype), values) if gone.any() else values


@GRAPH_NODES.member("lookup")
class LookupKind(Plain):
    """Features by key: ``view = "customer"``, ``keys = {customer_id = "customer"}``."""

    settings = LookupSettings

    @staticmethod
    def frozen(settings: LookupSettings, around: Surroundings) -> LookupSettings:
        """With the number of the view's definition."""
        return replaced(settings, number=around.view(settings.view, settings.number).number)

    @staticmethod
    def looks_up(node: Any) -> Mapping[str, Kind]:
        """Its features, as ``view.feature``."""
        return {f"{node.view}.{name}": node.shape.kinds[name] for name in node.wanted}

    @staticmethod
    def made(settings: LookupSettings, building: Building) -> Lookup:
        """The node, if the view has the features asked for and the rows have its keys."""
        source, kinds = building.only_one(), building.shape.kinds
        applied = building.around.view(settings.view, settings.number)
        view, dtypes = applied.view, building.around.dtypes(applied)
        strange = [name for name in settings.keys if name not in view.entity]
        if strange:
            raise building.wrong(f"view {view.name!r} has no key {strange[0]!r}", f"Its keys: {', '.join(view.entity)}.")
        keys = tuple((entity, settings.keys.get(entity, entity), dtypes.get(entity, "String")) for entity in view.entity)
        for entity, name, dtype in keys:
            if name not in kinds:
                raise building.wrong(
                    f"the rows have no column {name!r} for key {entity!r} of view {view.name!r}",
                    "Declare it among the graph's inputs, or map it in `keys`.",
                )
            if kinds[name] != kind_of(dtype):
                raise building.wrong(
                    f"{name!r} is a {kinds[name]}, and key {entity!r} of view {view.name!r} a {kind_of(dtype)}",
                    "Send the key as it is kept.",
                )
        features = {feature.name: _kind(feature, dtypes) for feature in view.features}
        wanted = settings.features or tuple(features)
        unknown = [name for name in (*wanted, *settings.defaults) if name not in features]
        if unknown:
            raise building.wrong(f"view {view.name!r} has no feature {unknown[0]!r}", f"Its features: {', '.join(features)}.")
        for name, value in settings.defaults.items():
            if (features[name] == "text") != isinstance(value, str):
                raise building.wrong(f"the default of {name!r} is {value!r}, and the feature a {features[name]}", "Give one of its kind.")
        shape = replace(building.shape, kinds={**kinds, **{name: features[name] for name in wanted}})
        age = round((settings.max_age_s or 0) * _SECOND)
        return Lookup(source, view.name, keys, wanted, settings.defaults, age, building.around.features(applied), shape)


def _kind(feature: Feature, dtypes: Mapping[str, str]) -> Kind:
    if feature.aggregate is not None:
        return "number"
    found = kind_of(dtypes.get(feature.source, "Float64"))
    return "number" if found == "truth" else found
