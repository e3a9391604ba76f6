"""Entity keys as integers: equal keys of the same kind get the same code, a null or unknown key gets none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from rung.core.errors import Invalid

Codes = npt.NDArray[np.int64]
NO_KEY, UNKNOWN = -2, -1
_CODE = "__code"


class Keys:
    """The distinct keys of a source, by which label rows are coded."""

    def __init__(self, frame: pl.DataFrame, entity: tuple[str, ...], where: str) -> None:
        self.entity = entity
        self.where = where
        keys = _plain(frame, entity, where)
        self.kinds = {name: keys[name].dtype for name in entity}
        self._known = keys.drop_nulls().unique(maintain_order=True).with_row_index(_CODE).cast({_CODE: pl.Int64})
        self.codes = self._coded(keys)

    def of(self, labels: pl.DataFrame) -> Codes:
        """The code of each label row. Raises Invalid when a key column is absent or of another kind."""
        keys = _plain(labels, self.entity, "Label")
        for name, dtype in self.kinds.items():
            if keys[name].dtype != dtype and pl.Null not in {keys[name].dtype, dtype}:
                raise Invalid(
                    f"Key {name!r} is {labels[name].dtype} in the label rows and {dtype} in {self.where}.",
                    code="features.key_type",
                    hint="Make them of one type: numbers and texts are never matched by a silent cast.",
                )
        return self._coded(keys.cast({name: dtype for name, dtype in self.kinds.items() if keys[name].dtype == pl.Null}))

    def _coded(self, keys: pl.DataFrame) -> Codes:
        if pl.Null in self.kinds.values():
            codes = np.full(keys.height, UNKNOWN, dtype=np.int64)
        else:
            found = keys.join(self._known, on=list(self.entity), how="left", maintain_order="left")
            codes = found[_CODE].fill_null(UNKNOWN).to_numpy().astype(np.int64)
        missing = keys.select(pl.any_horizontal(pl.all().is_null())).to_series().to_numpy()
        return np.where(missing, NO_KEY, codes)


def _plain(frame: pl.DataFrame, entity: tuple[str, ...], where: str) -> pl.DataFrame:
    absent = [name for name in entity if name not in frame.columns]
    if absent:
        raise Invalid(
            f"{where} rows have no key column {absent[0]!r}.", code="features.no_column", hint=f"Columns: {', '.join(frame.columns)}."
        )
    keys = frame.select(entity)
    try:
        return keys.with_columns(_kept(keys[name], where) for name in entity)
    except pl.exceptions.PolarsError as error:
        raise Invalid(f"{where} keys cannot be compared: {str(error).splitlines()[0]}.", code="features.key_type") from None


def _kept(series: pl.Series, where: str) -> pl.Series:
    dtype = series.dtype
    if dtype.is_integer():
        return series.cast(pl.Int64)
    if dtype in {pl.Categorical, pl.Enum}:
        return series.cast(pl.String)
    if dtype.is_float() or dtype.is_nested():
        raise Invalid(
            f"{where} key {series.name!r} is {dtype}.", code="features.key_type", hint="Keys are whole numbers, texts, booleans or times."
        )
    return series
