"""Twenty steps that do nothing, in a row, for Dagster in one process, kept in its instance."""

from dagster import DagsterInstance, job, op


@op
def first() -> int:
    """Zero."""
    return 0


@op
def following(x: int) -> int:
    """One more."""
    return x + 1


@job
def linear() -> None:
    """First and nineteen more."""
    x = first()
    for _ in range(19):
        x = following(x)


if __name__ == "__main__":
    assert linear.execute_in_process(instance=DagsterInstance.get()).success
