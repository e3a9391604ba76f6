"""What is recorded of a model's value follows its new name, also when something is there under that name by then."""

from __future__ import annotations

from rung.app.local import LocalTransport
from rung.registry.logged import RenameModel
from rung.registry.records import CreateModel
from rung.value import records as r


def recorded(transport: LocalTransport, model: str, amount: float) -> None:
    """A matrix, a goal and a cost."""
    transport.call(r.SetMatrix(model=model, tp=amount, fp=-1.0))
    transport.call(r.SetGoal(model=model, goal=f"worth {amount:g}", kpi="net", owner="ana"))
    transport.call(r.AddCost(model=model, kind="people", amount=amount, note="by hand"))


def test_records_made_before_the_news_of_the_new_name_stay_behind_the_older_ones(transport: LocalTransport) -> None:
    transport.call(CreateModel(name="late"))
    recorded(transport, "late", 1.0)
    recorded(transport, "late", 2.0)
    transport.call(RenameModel(model="late", name="delayed"))
    recorded(transport, "delayed", 3.0)
    for _ in range(2):  # news may come twice
        transport.call(r.FollowRenamed(model="delayed", previous="late"))
    worth = [transport.call(r.GetMatrix(model="delayed", number=number)).tp for number in (1, 2, 3)]
    assert worth == [1.0, 2.0, 3.0]
    assert transport.call(r.GetMatrix(model="delayed")).number == 3
    assert transport.call(r.GetGoal(model="delayed")).goal == "worth 3"
    assert sorted(entry.amount for entry in transport.call(r.ListCosts(model="delayed"))) == [1.0, 2.0, 3.0]
    assert transport.call(r.ListCosts(model="late")) == ()
