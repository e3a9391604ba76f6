"""Versions from elsewhere, stages, approvals, renaming, retiring: what happens to a version between its making and its end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

import rung
from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.core.clock import FixedClock
from rung.core.digests import digest_of
from rung.core.errors import AlreadyExists, Conflict, Denied, Invalid, NotFound
from rung.governance.records import Role
from rung.registry import approvals as a
from rung.registry import engine_verbs, registering
from rung.registry import logged as lg
from rung.registry import records as r
from rung.tracking.artifacts import LogArtifact
from rung.tracking.logged import CreateLoggedModel

RNG = np.random.default_rng(3)
FRAME = pl.DataFrame({"x": RNG.normal(size=300), "z": RNG.normal(size=300)})
FRAME = FRAME.with_columns(late=(FRAME["x"] + FRAME["z"] + pl.Series(RNG.normal(size=300))) > 0)
MODEL = LogisticRegression().fit(FRAME.select("x", "z"), FRAME["late"].to_numpy())
NUMBERS = LinearRegression().fit(FRAME.select("x", "z"), FRAME["x"].to_numpy())
NAME = "Späte Flüge @ EWR (v2)"


@pytest.fixture
def flights(client: Client) -> Client:
    """A client with two versions of a model that carries a free name, and the dataset they are judged on."""
    client.data.add("flights", FRAME)
    for _ in range(2):
        client.registry.register(NAME, MODEL, example=FRAME.select("x", "z"), label="late", datasets=[("test", "flights", 1)])
    return client


def somebody(transport: LocalTransport, name: str, role: Role = "maintainer") -> Client:
    """A client of another principal of the project."""
    owner = Client(transport)
    owner.governance.create_principal(name, role=role)
    return Client(LocalTransport(transport.platform, token=owner.governance.create_token(name).secret))


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", "..", ".", "a\n", "x" * 257, "nul\x00"])
def test_a_name_that_no_client_could_address_is_refused(client: Client, name: str) -> None:
    with pytest.raises(Invalid):
        client.registry.create_model(name)


def test_a_free_name_goes_everywhere_a_model_goes(flights: Client) -> None:
    registry = flights.registry
    assert registry.check_gate(NAME, 1).passed
    registry.promote(NAME, 1)
    flights.serving.deploy("ewr", NAME, alias="champion")
    assert flights.serving.predict("ewr", FRAME.select("x", "z").head(2)).height == 2
    flights.value.set_matrix(NAME, tp=5, fp=-1)
    flights.registry.create_model("n" * 256, "binary")
    assert [item.name for item in registry.search_models("name LIKE 'n%'").items] == ["n" * 256]


def test_the_task_of_a_model_is_that_of_its_first_version(client: Client) -> None:
    assert client.registry.create_model("late").task is None
    client.registry.register("late", MODEL, example=FRAME.select("x", "z"), label="late")
    assert client.registry.model("late").task == "binary"


def test_a_version_that_only_has_an_address_says_why_it_answers_nobody(client: Client) -> None:
    version = client.registry.register_logged("late", "s3://bucket/model")
    assert (version.format, version.files, version.task, version.label) == ("", (), None, "")
    assert "s3://bucket/model" in version.unservable
    for ask in (
        lambda: client.registry.evaluate("late", 1, "flights"),
        lambda: client.registry.check_gate("late", 1),
        lambda: client.serving.deploy("late", "late", number=1),
        lambda: client.registry.predictor("late", 1),
    ):
        with pytest.raises(Conflict, match="not kept here") as caught:
            ask()
        assert caught.value.code == "registry.unservable"
    assert client.registry.download("late", 1).source == "s3://bucket/model"


@pytest.mark.parametrize(
    "source",
    [
        "/etc/passwd", "file:///etc/passwd", "../../x", "mlflow-artifacts:/../../x", "mlflow-artifacts:/0/%2e%2e/x", "C:\\models",
        "runs:/" + "a" * 32 + "/model", "models:/m-" + "a" * 32, "mlflow-artifacts:/0/" + "b" * 32 + "/artifacts/model",
        "runs://host/" + "a" * 32, "s3://bucket/a/../../b", "models:/late", "mlflow-artifacts:/anywhere", "s3://b/x\x01", "relative/path",
    ],
)  # fmt: skip
def test_a_source_that_reaches_where_nobody_was_let_is_refused(client: Client, source: str) -> None:
    client.registry.create_model("late")
    with pytest.raises(Invalid):
        client.transport.call(lg.RegisterLogged(model="late", source=source))
    assert client.registry.versions("late").items == ()


def test_what_nobody_knew_is_said_once(flights: Client) -> None:
    registry = flights.registry
    before = registry.version(NAME, 1)
    with pytest.raises(Conflict, match="has the label 'late' already"):
        registry.describe(NAME, 1, label="delayed")
    assert registry.describe(NAME, 1, label="late").digest == before.digest
    after = registry.describe(NAME, 1, threshold=0.7)
    assert after.threshold == 0.7
    assert after.digest != before.digest
    unknown = registry.register_logged("other", "s3://bucket/model")
    assert registry.describe("other", unknown.number, label="late").label == "late"


def test_a_copy_keeps_what_it_answers_with(flights: Client) -> None:
    copy = flights.registry.register_logged("copies", f"models:/{NAME}/2")
    held = flights.registry.version(NAME, 2)
    assert (copy.digest, copy.files, copy.label, copy.number) == (held.digest, held.files, "late", 1)
    assert flights.registry.check_gate("copies", 1, dataset="flights").passed


def test_versions_are_found_with_the_whole_language(flights: Client) -> None:
    registry = flights.registry
    registry.update_version(NAME, 1, tags={"kind": "candidate"})
    registry.set_stage(NAME, 2, "staging")

    def found(text: str, **options: object) -> list[int]:
        return [version.number for version in registry.search_versions(text, **options).items]  # type: ignore[arg-type]

    assert found("tags.kind = 'candidate' OR stage = 'staging'", order_by=["number"]) == [1, 2]
    assert found("NOT (tags.kind = 'candidate')") == [2]
    assert found(f"name = '{NAME}' AND number < 2") == [1]
    first = registry.search_versions(limit=1)
    assert first.next is not None
    assert [item.number for item in registry.search_versions(limit=1, after=first.next).items] == [1]
    with pytest.raises(Invalid, match="not searched by 'nothing'"):
        found("nothing = 'x'")


def test_aliases_follow_the_stages(flights: Client) -> None:
    registry = flights.registry
    with pytest.raises(Conflict, match="no passing verdict"):
        registry.set_stage(NAME, 1, "production")
    for number in (1, 2):
        assert registry.check_gate(NAME, number).passed
        registry.set_stage(NAME, number, "production")
    assert registry.model(NAME).aliases == {"production": 2}
    registry.set_stage(NAME, 2, "archived")
    assert registry.model(NAME).aliases == {"production": 1}
    registry.set_stage(NAME, 2, "production", archive_others=True)
    assert [registry.version(NAME, number).stage for number in (1, 2)] == ["archived", "production"]
    registry.set_stage(NAME, 2, "none")
    assert registry.model(NAME).aliases == {}


def test_the_champion_of_a_model_without_gates_moves_freely_until_it_gets_some(client: Client) -> None:
    client.transport.call(r.CreateModel(name="free", gated=False))
    client.registry.register("free", MODEL, example=FRAME.select("x", "z"), label="late")
    client.registry.set_alias("free", "champion", 1)
    client.registry.set_gate_rules("free", [{"gate": "contract"}])
    with pytest.raises(Conflict, match="promotion only"):
        client.registry.remove_alias("free", "champion")


def test_what_is_served_is_not_deleted_and_what_is_deleted_comes_back(flights: Client) -> None:
    registry = flights.registry
    flights.serving.deploy("ewr", NAME, number=1, environment="staging")
    for ask in (lambda: registry.delete_version(NAME, 1), lambda: registry.delete_model(NAME), lambda: registry.rename_model(NAME, "x")):
        with pytest.raises(Conflict, match="deployment ewr") as caught:
            ask()
        assert caught.value.code == "registry.deployed"
    flights.serving.deploy("ewr", NAME, number=2, environment="staging")
    registry.set_alias(NAME, "shadow", 1)
    assert registry.delete_version(NAME, 1, remove_aliases=True).deleted_at is not None
    assert registry.model(NAME).aliases == {}
    with pytest.raises(Conflict, match="deleted"):
        flights.serving.deploy("ewr", NAME, number=1, environment="staging")
    with pytest.raises(NotFound, match="restore"):
        registry.update_version(NAME, 1, description="gone")
    assert registry.restore_version(NAME, 1).deleted_at is None
    flights.serving.undeploy("ewr")
    registry.delete_model(NAME)
    with pytest.raises(NotFound):
        registry.model(NAME)
    assert registry.models() == ()
    assert registry.restore_model(NAME).versions == 2


def test_a_name_is_free_after_deletion_and_its_numbers_are_not(flights: Client) -> None:
    flights.registry.delete_model(NAME)
    assert flights.registry.create_model(NAME, "binary").versions == 0
    assert flights.registry.register(NAME, MODEL, example=FRAME.select("x", "z"), label="late").number == 3


def test_everything_follows_a_new_name(flights: Client) -> None:
    registry = flights.registry
    verdict = registry.check_gate(NAME, 1)
    registry.promote(NAME, 1)
    registry.create_model("taken")
    with pytest.raises(AlreadyExists):
        registry.rename_model(NAME, "taken")
    held = registry.rename_model(NAME, "late no more")
    assert (held.aliases, held.versions) == ({"champion": 1}, 2)
    assert registry.version(held.name, 1).model == held.name
    assert registry.verdict(verdict.id).model == held.name == flights.evaluation.get(verdict.evaluation).model
    kinds = {edge.source.kind for edge in flights.governance.trace("model_version", f"{held.name}:1").edges}
    assert "dataset_version" in kinds
    with pytest.raises(NotFound):
        registry.version(NAME, 1)


def test_a_version_is_let_pass_by_others_than_its_maker(flights: Client, transport: LocalTransport) -> None:
    registry = flights.registry
    registry.set_approval_rule(NAME, 1)
    assert registry.check_gate(NAME, 1).passed
    with pytest.raises(Conflict, match="0 of 1 approvals"):
        registry.promote(NAME, 1)
    with pytest.raises(Conflict, match="not approved"):
        flights.serving.deploy("ewr", NAME, number=1)
    with pytest.raises(Denied, match="registered"):
        registry.approve(NAME, 1)
    ada = somebody(transport, "ada")
    with pytest.raises(Conflict, match="digest"):
        ada.registry.approve(NAME, 1, digest=f"blake3:{'0' * 64}")
    given = ada.registry.approve(NAME, 1, comment="looked at the slices")
    assert registry.approvals(NAME, 1).counted == 1
    registry.revoke_approval(given.id)
    assert "0 of 1" in registry.approvals(NAME, 1).missing
    ada.registry.approve(NAME, 1)
    assert registry.promote(NAME, 1).number == 1
    approved = {(edge.source.id, edge.relation) for edge in flights.governance.trace("model_version", f"{NAME}:1").edges}
    assert ("ada", "approved") in approved


def test_of_two_approvals_neither_is_of_who_promotes_and_both_end(flights: Client, transport: LocalTransport) -> None:
    registry = flights.registry
    registry.set_approval_rule(NAME, 2, roles=["maintainer"])
    assert registry.check_gate(NAME, 1).passed
    ada, bob, eve = (somebody(transport, name) for name in ("ada", "bob", "eve"))
    for one in (ada, bob):
        one.registry.approve(NAME, 1)
    with pytest.raises(Conflict, match="1 of 2"):
        ada.registry.promote(NAME, 1)
    with pytest.raises(Invalid, match="would have ended"):
        eve.registry.approve(NAME, 1, until=datetime.now(UTC) - timedelta(hours=1))
    eve.registry.approve(NAME, 1, until=datetime.now(UTC) + timedelta(hours=1))
    transport.platform.clock = FixedClock(datetime.now(UTC) + timedelta(hours=2))
    with pytest.raises(Conflict, match="1 of 2"):
        ada.registry.promote(NAME, 1)
    assert eve.registry.promote(NAME, 1).number == 1
    registry.describe(NAME, 1, threshold=0.8)
    state: a.ApprovalState = registry.approvals(NAME, 1)
    assert (state.counted, len(state.approvals)) == (0, 3)


def test_who_says_no_is_in_the_way_until_it_is_taken_back(flights: Client, transport: LocalTransport) -> None:
    registry, ada = flights.registry, somebody(transport, "ada").registry
    assert registry.check_gate(NAME, 1).passed
    with pytest.raises(Invalid):
        ada.reject(NAME, 1, "")
    said = ada.reject(NAME, 1, "the slices of EWR look odd")
    state = registry.approvals(NAME, 1)
    assert (state.rejected_by, state.rule.needed) == (("ada",), 0)
    for ask in (lambda: registry.promote(NAME, 1), lambda: registry.promote(NAME, 1, override_reason="no time to wait"),
                lambda: registry.set_stage(NAME, 1, "production"), lambda: flights.serving.deploy("ewr", NAME, number=1)):  # fmt: skip
        with pytest.raises(Conflict, match="ada says no: the slices of EWR look odd") as caught:
            ask()
        assert caught.value.code == "registry.rejected"
    with pytest.raises(Denied, match="'ada' who said so"):
        somebody(transport, "robot", "service").registry.revoke_approval(said.id)
    ada.approve(NAME, 1, comment="mended the slices' names")
    assert registry.approvals(NAME, 1).counted == 1
    assert registry.promote(NAME, 1).number == 1


def test_no_way_to_a_protected_place_goes_around_the_approvals(flights: Client, transport: LocalTransport) -> None:
    registry = flights.registry
    with pytest.raises(Conflict, match="promotion only"):
        registry.set_alias(NAME, "production", 1)
    client = Client(transport)
    client.transport.call(r.CreateModel(name="free", gated=False))
    registry.register("free", MODEL, example=FRAME.select("x", "z"), label="late")
    registry.set_approval_rule("free", 1)
    for alias in ("champion", "production"):
        with pytest.raises(Conflict, match="not approved"):
            registry.set_alias("free", alias, 1)
    assert registry.set_alias("free", "shadow", 1).number == 1


def test_a_new_model_does_not_inherit_the_rules_of_a_deleted_one(flights: Client) -> None:
    registry = flights.registry
    registry.set_gate_rules(NAME, [{"gate": "contract", "max_size_bytes": 1}])
    registry.set_approval_rule(NAME, 3)
    registry.delete_model(NAME)
    registry.create_model(NAME)
    assert registry.gate_rules(NAME).set_at is None
    assert registry.approval_rule(NAME).needed == 0


def test_files_and_example_of_a_version_are_written_where_nothing_is(flights: Client, tmp_path: Path) -> None:
    registry = flights.registry
    (written,) = registry.save_files(NAME, 1, tmp_path / "new" / "folder")
    assert digest_of(written.read_bytes()) == registry.version(NAME, 1).files[0].digest
    with pytest.raises(AlreadyExists, match="holds something"):
        registry.save_files(NAME, 1, tmp_path / "new")
    assert registry.input_example(NAME, 1).columns == ["x", "z"]
    registry.register_logged("other", "s3://bucket/model")
    with pytest.raises(Conflict, match="not kept here"):
        registry.save_files("other", 1, tmp_path / "other")
    with pytest.raises(NotFound, match="no input example"):
        registry.input_example("other", 1)


def test_a_version_of_a_logged_model_comes_from_its_run(client: Client) -> None:
    run = client.tracking.start("train").id
    made = client.transport.call(CreateLoggedModel(name="model", run=run))
    client.tracking.finish(run)
    version = client.registry.register_logged("late", f"models:/m-{made.id}")
    assert (version.run_id, version.logged_model, version.source) == (run, made.id, f"models:/m-{made.id}")
    assert "No files were found" in version.unservable
    edges = {(edge.source.kind, edge.source.id, edge.relation) for edge in client.governance.trace("model_version", "late:1").edges}
    assert {("run", run, "produced"), ("logged_model", made.id, "registered_as")} <= edges


def test_what_our_own_sdk_logged_is_registered_from_its_address(client: Client) -> None:
    with rung.start_run("train", client=client) as run:
        logged = rung.log_model(MODEL, example=FRAME.select("x", "z"), label="late")
    version = client.registry.register_logged("late", f"models:/m-{logged.id}")
    assert (version.run_id, version.format, version.task, version.label, version.unservable) == (run.id, "skops", "binary", "late", "")
    with rung.start_run("again", client=client) as run:
        at_once = rung.log_model(MODEL, example=FRAME.select("x", "z"), label="late", register_as="late")
    version = client.registry.version("late")
    assert (version.number, version.run_id, version.logged_model) == (2, run.id, at_once.id)
    with pytest.raises(NotFound):
        client.transport.call(
            r.RegisterVersion(
                model="late", format="skops", files=version.files, signature=version.signature, task="binary", label="late",
                classes=version.classes, logged_model="0" * 32,
            )
        )  # fmt: skip
    assert client.registry.input_example("late", 1).columns == ["x", "z"]
    assert client.registry.predictor("late").predict_scores(FRAME.select("x", "z").head(3)).shape == (3,)


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        (b"{", "cannot be read"), (b"[]", "cannot be read"), (b"{}", "cannot be read"), (b"\xff", "cannot be read"),
        (b'{"format":"skops","files":[],"task":"binary","signature":{"inputs":[]}}', "none at all"),
        (
            b'{"format":"skops","files":[{"path":"a","digest":"blake3:%s","size_bytes":1}],"task":"binary","signature":{"inputs":[]}}' % (b"0" * 64),
            "not beside it: a",
        ),
        (
            b'{"format":"no such","files":[{"path":"f","digest":"DIGEST","size_bytes":1}],"task":"binary","classes":[0,1],'
            b'"signature":{"inputs":[{"name":"x","dtype":"Float64"}]}}', "no such",
        ),
        (b'{"format":"skops","files":[{"path":"f","digest":"DIGEST","size_bytes":1}],"task":"binary","signature":{"inputs":[]}}', "0 classes"),
    ],
)  # fmt: skip
def test_a_forged_manifest_makes_a_version_that_answers_nobody(client: Client, manifest: bytes, why: str) -> None:
    run = client.tracking.start("train").id
    made = client.transport.call(CreateLoggedModel(name="model", run=run))
    held = client.transport.put_blob(b"x")
    for path, data in (("f", b"x"), ("rung.json", manifest.replace(b"DIGEST", held.encode()))):
        client.transport.call(LogArtifact(owner=f"m-{made.id}", path=path, digest=client.transport.put_blob(data), size_bytes=len(data)))
    version = client.registry.register_logged("late", f"models:/m-{made.id}")
    assert why in version.unservable
    assert version.format == ""


def test_a_notebook_shows_models_and_versions(flights: Client) -> None:
    flights.registry.update_model(NAME, description="<b>late</b>")
    shown = flights.registry.model(NAME)._repr_html_() + flights.registry.version(NAME, 2)._repr_html_()
    assert "&lt;b&gt;late" in shown
    assert "binary" in shown
    assert "Float64" in shown


def test_what_was_collected_is_gone_for_good_and_its_number_stays_given(flights: Client) -> None:
    registry = flights.registry
    registry.delete_version(NAME, 2)
    assert flights.governance.collect_garbage(older_than_days=0).removed["model versions"] == 1
    with pytest.raises(NotFound, match="are gone"):
        registry.restore_version(NAME, 2)
    assert registry.predictor(NAME, 1)
    registry.delete_model(NAME)
    assert flights.governance.collect_garbage(older_than_days=0).removed["models"] == 1
    with pytest.raises(NotFound, match="no deleted model"):
        registry.restore_model(NAME)
    registry.register("other", MODEL, example=FRAME.select("x", "z"), label="late")
    with pytest.raises(AlreadyExists, match="numbers stay given"):
        registry.rename_model("other", NAME)
    assert registry.register(NAME, MODEL, example=FRAME.select("x", "z"), label="late").number == 3


def test_a_model_holds_one_task_whoever_registers_its_first_version(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = engine_verbs.compiled_version

    def slow(*given: Any) -> r.ModelVersion:
        monkeypatch.setattr(registering, "compiled_version", compiled)
        client.registry.register("late", NUMBERS, example=FRAME.select("x", "z"), label="late")
        return compiled(*given)

    monkeypatch.setattr(registering, "compiled_version", slow)
    with pytest.raises(Conflict, match="is regression, not binary"):
        client.registry.register("late", MODEL, example=FRAME.select("x", "z"), label="late")
    assert [version.task for version in client.registry.versions("late").items] == ["regression"]
