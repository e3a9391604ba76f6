"""Twenty steps that do nothing, in a row, for Rung: once beside the engine, once each in a worker of the warm pool."""

from rung import pipeline, step


@step
def first() -> int:
    """Zero."""
    return 0


@step
def following(x: int) -> int:
    """One more."""
    return x + 1


@step(name="first-alone", isolated=True)
def first_alone() -> int:
    """Zero."""
    return 0


@step(name="following-alone", isolated=True)
def following_alone(x: int) -> int:
    """One more."""
    return x + 1


@pipeline
def linear() -> int:
    """First and nineteen more."""
    x = first()
    for _ in range(19):
        x = following(x)
    return x


@pipeline
def isolated() -> int:
    """The same, apart from the engine."""
    x = first_alone()
    for _ in range(19):
        x = following_alone(x)
    return x
