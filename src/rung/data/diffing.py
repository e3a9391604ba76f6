"""What is different between two versions of a dataset."""

from __future__ import annotations

from rung.data.records import ColumnProfile, DatasetVersion, Profile, StatisticChange, TypeChange, VersionDiff

_NOTABLE, _NOTABLE_SHARE = 0.05, 0.005


def diff(before: DatasetVersion, after: DatasetVersion, was: Profile, now: Profile) -> VersionDiff:
    """Schema, rows, files and statistics that moved notably (a twentieth of a standard deviation, half a percent of rows)."""
    old, new = {c.name: c for c in before.schema}, {c.name: c for c in after.schema}
    files, others = {f.path: f.digest for f in before.files}, {f.path: f.digest for f in after.files}
    return VersionDiff(
        dataset=after.dataset,
        before=before.number,
        after=after.number,
        same=before.digest == after.digest,
        rows_before=before.rows,
        rows_after=after.rows,
        added_columns=tuple(c for n, c in new.items() if n not in old),
        removed_columns=tuple(c for n, c in old.items() if n not in new),
        changed_types=tuple(
            TypeChange(column=n, before=old[n].dtype, after=c.dtype) for n, c in new.items() if n in old and old[n].dtype != c.dtype
        ),
        statistics=_statistics(was, now),
        added_files=tuple(sorted(set(others) - set(files))),
        removed_files=tuple(sorted(set(files) - set(others))),
        changed_files=tuple(sorted(p for p, digest in others.items() if p in files and files[p] != digest)),
    )


def _statistics(was: Profile, now: Profile) -> tuple[StatisticChange, ...]:
    older = {c.name: c for c in was.columns}
    return tuple(change for c in now.columns if c.name in older for change in _moved(older[c.name], c))


def _moved(old: ColumnProfile, new: ColumnProfile) -> list[StatisticChange]:
    found = []
    gaps = (old.nulls / old.count if old.count else 0.0, new.nulls / new.count if new.count else 0.0)
    if abs(gaps[0] - gaps[1]) > _NOTABLE_SHARE:
        found.append(StatisticChange(column=new.name, statistic="null share", before=gaps[0], after=gaps[1]))
    if old.mean is not None and new.mean is not None and old.std:
        shift = (new.mean - old.mean) / old.std
        if abs(shift) > _NOTABLE:
            found.append(StatisticChange(column=new.name, statistic="mean", before=old.mean, after=new.mean, shift=shift))
    if old.kind == "text" and old.distinct != new.distinct:
        found.append(StatisticChange(column=new.name, statistic="distinct", before=old.distinct, after=new.distinct))
    return found
