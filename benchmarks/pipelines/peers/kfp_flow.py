"""Twenty steps that do nothing, in a row, for Kubeflow Pipelines' local runner, a process each."""

from kfp import dsl, local


@dsl.component(install_kfp_package=False)
def first() -> int:
    """Zero."""
    return 0


@dsl.component(install_kfp_package=False)
def following(x: int) -> int:
    """One more."""
    return x + 1


@dsl.pipeline
def linear() -> int:
    """First and nineteen more."""
    x = first()
    for _ in range(19):
        x = following(x=x.output)
    return x.output


if __name__ == "__main__":
    local.init(runner=local.SubprocessRunner(use_venv=False))
    assert linear().output == 19
