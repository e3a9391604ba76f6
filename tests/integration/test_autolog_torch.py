"""``rung.autolog()`` with PyTorch and Lightning themselves, where they are installed."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import pytest

import rung
from rung.client.client import Client
from tests.autologging import files, only_run, platform, runs

torch = pytest.importorskip("torch")
__all__ = ["platform"]
pytestmark = pytest.mark.filterwarnings("ignore")


def curve(platform: Client, run: Any, key: str) -> dict[int, float]:
    return {point.step: point.value for point in platform.tracking.history(run.id, key).points}


def test_an_optimizer_tells_the_open_run_its_settings(platform: Client) -> None:
    rung.autolog()
    with rung.start_run("torch", params={"epochs": 2}):
        layer = torch.nn.Linear(2, 1)
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.02, weight_decay=0.1)
        for _ in range(2):
            layer(torch.ones(3, 2)).sum().backward()
            optimizer.step()
    run = only_run(platform)
    assert (run.params["optimizer"], run.params["optimizer.lr"], run.params["optimizer.weight_decay"]) == ("AdamW", 0.02, 0.1)


def test_an_optimizer_alone_opens_no_run(platform: Client) -> None:
    rung.autolog()
    layer = torch.nn.Linear(2, 1)
    layer(torch.ones(3, 2)).sum().backward()
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    assert runs(platform) == []


def test_params_of_the_script_go_before_those_of_the_optimizer(platform: Client) -> None:
    rung.autolog()
    with rung.start_run("torch", params={"optimizer": "mine"}):
        layer = torch.nn.Linear(2, 1)
        layer(torch.ones(3, 2)).sum().backward()
        torch.optim.SGD(layer.parameters(), lr=0.1).step()
    run = only_run(platform)
    assert (run.params["optimizer"], run.params["torch.optimizer"]) == ("mine", "SGD")


def test_scalars_for_tensorboard_are_metrics(platform: Client, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    rung.autolog()
    writer = SummaryWriter(tmp_path / "tb")
    for step in range(3):
        writer.add_scalar("loss/train", torch.tensor(1.0 / (step + 1)), step)
    writer.add_scalars("accuracy", {"train": 0.5, "test": 0.25}, 2)
    writer.add_hparams({"lr": 0.1}, {"best": 0.5})
    writer.close()
    run = only_run(platform)
    assert run.status == "succeeded"
    assert curve(platform, run, "loss/train") == pytest.approx({0: 1.0, 1: 0.5, 2: 1 / 3})
    assert (run.metrics["accuracy/test"], run.metrics["best"], run.params["lr"]) == (0.25, 0.5, 0.1)
    assert list((tmp_path / "tb").iterdir())


def test_a_writer_logs_to_the_run_that_is_open(platform: Client, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    rung.autolog()
    with rung.start_run("mine") as mine, SummaryWriter(tmp_path / "tb") as writer:
        writer.add_scalar("loss", 0.5)
        assert not mine.closed
    assert only_run(platform).metrics["loss"] == 0.5


def test_disabling_puts_the_writer_back_and_takes_the_hook_away(platform: Client) -> None:
    from torch.optim import optimizer

    before = dict(optimizer._global_optimizer_post_hooks)
    rung.autolog()
    assert len(optimizer._global_optimizer_post_hooks) == len(before) + 1
    rung.autolog(disable=True)
    assert dict(optimizer._global_optimizer_post_hooks) == before


def lightning_module(lightning: Any) -> Any:
    class Line(lightning.LightningModule):
        def __init__(self, lr: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(2, 1)

        def forward(self, features: Any) -> Any:
            return self.layer(features)

        def training_step(self, batch: Any, _: int) -> Any:
            table, target = batch
            loss = ((self.layer(table)[:, 0] - target) ** 2).mean()
            self.log("train_loss", loss, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, _: int) -> None:
            table, target = batch
            self.log("val_loss", ((self.layer(table)[:, 0] - target) ** 2).mean())

        def test_step(self, batch: Any, batch_idx: int) -> None:
            table, target = batch
            self.log("test_loss", ((self.layer(table)[:, 0] - target) ** 2).mean())

        def on_train_epoch_end(self) -> None:
            self.log("late", float(self.current_epoch))

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]

    return Line


def loader() -> Any:
    torch.manual_seed(0)
    table = torch.randn(32, 2)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(table, table.sum(1)), batch_size=8)


def fitted(lightning: Any, folder: Path, **kwargs: Any) -> tuple[Any, Any, Any]:
    warnings.simplefilter("ignore")
    torch.manual_seed(1)
    history: list[float] = []

    class Keep(lightning.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            history.append(float(trainer.callback_metrics["val_loss"]))

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = lightning.Trainer(
        max_epochs=3, default_root_dir=folder, **{**quiet, **kwargs, "callbacks": [Keep(), *kwargs.get("callbacks", [])]}
    )
    module = lightning_module(lightning)()
    trainer.fit(module, loader(), loader())
    return trainer, module, history


def test_a_fit_of_lightning_is_a_run(platform: Client, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    rung.autolog()
    trainer, module, history = fitted(lightning, tmp_path, log_every_n_steps=1)
    assert len(trainer.callbacks) == len([item for item in trainer.callbacks if "rung" not in type(item).__module__])
    run = only_run(platform)
    assert (run.name, run.status) == ("Line", "succeeded")
    assert (run.params["optimizer"], run.params["optimizer.lr"], run.params["hparams.lr"]) == ("SGD", 0.1, 0.1)
    assert (run.params["batch_size"], run.params["max_epochs"], run.params["scheduler"]) == (8, 3, "StepLR")
    assert curve(platform, run, "val_loss") == pytest.approx(dict(enumerate(history)))
    assert set(curve(platform, run, "train_loss_epoch")) == {0, 1, 2}
    assert len(curve(platform, run, "train_loss_step")) == 12
    assert curve(platform, run, "lr") == pytest.approx({0: 0.1, 1: 0.05, 2: 0.025})
    assert curve(platform, run, "late") == {0: 0.0, 1: 1.0, 2: 2.0}
    held = files(platform, run)
    assert "model_summary.txt" in held
    assert any(name.startswith("checkpoints/") for name in held)
    assert run.inputs[0].name == "train_dataloader"
    if importlib.util.find_spec("onnxruntime"):
        (link,) = run.models
        assert {item.path for item in platform.tracking.artifacts(f"m-{link.model}")} == {"model.onnx", "rung.json", "example.parquet"}
    trainer.test(module, loader(), verbose=False)
    assert only_run(platform).metrics["test_loss"] == pytest.approx(float(trainer.callback_metrics["test_loss"]))


def test_early_stopping_says_when_and_how_good(platform: Client, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    rung.autolog(models=False)
    stop = lightning.callbacks.EarlyStopping("val_loss", patience=0, min_delta=1e9)
    fitted(lightning, tmp_path, callbacks=[stop])
    run = only_run(platform)
    assert run.params["early_stopping.monitor"] == "val_loss"
    assert run.metrics["stopped_epoch"] == stop.stopped_epoch
    assert run.metrics["best_val_loss"] == pytest.approx(float(stop.best_score))
    assert not any(name.startswith("checkpoints/") for name in files(platform, run))


def test_a_failed_fit_of_lightning_fails_its_run(platform: Client, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    rung.autolog()

    class Broken(lightning.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            raise ZeroDivisionError("broken on purpose")

    with pytest.raises(ZeroDivisionError, match="broken on purpose"):
        fitted(lightning, tmp_path, callbacks=[Broken()])
    assert only_run(platform).status == "failed"


def test_lightning_trains_alike_with_and_without(platform: Client, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    _, plain, _ = fitted(lightning, tmp_path / "a")
    rung.autolog()
    _, watched, _ = fitted(lightning, tmp_path / "b")
    assert torch.equal(plain.layer.weight, watched.layer.weight)
