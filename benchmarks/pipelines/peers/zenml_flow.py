"""Twenty steps that do nothing, in a row, for ZenML's local stack."""

from zenml import pipeline, step


@step
def first() -> int:
    """Zero."""
    return 0


@step
def following(x: int) -> int:
    """One more."""
    return x + 1


@pipeline(enable_cache=True)
def linear() -> None:
    """First and nineteen more."""
    x = first()
    for _ in range(19):
        x = following(x)


if __name__ == "__main__":
    linear()
