"""Programs of PyTorch without their Python code: what ``torch.export`` writes (.pt2), and TorchScript.

Neither brings Python, but both are read by PyTorch's own readers: large, in C++ and in pickles that are held to tensors. A file that
somebody made up may still attack those, so such models are treated as those that bring code: taken only where
``registry.allow_code`` says so, and read and run in a confined process of their own. Without that, register the module:
it is kept as ONNX, or by the format ``torch`` as weights and known layers.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.core.references import Task
from rung.registry.format import FORMATS, Scorer, Traits, missing_library, numbers, only_file, scores, unreadable
from rung.registry.own_code import check_here

PROGRAM, SCRIPT = "program.pt2", "program.torchscript"
_ZIP = b"PK\x03\x04"
_FAULTS = (RuntimeError, ValueError, TypeError, AssertionError, IndexError, KeyError)


@FORMATS.member("torch_program")
class TorchProgram:
    """A program that takes one tensor of floats, a row a record and a column a feature, and answers scores: probabilities for classes."""

    rank = 50
    libraries = ("torch", "numpy")
    endings: tuple[str, ...] = (".pt2", ".torchscript")
    isolated = True

    @staticmethod
    def accepts(estimator: Any) -> bool:
        """Whether it is a program that ``torch.export`` or ``torch.jit`` made, where PyTorch is loaded."""
        torch = sys.modules.get("torch")
        return torch is not None and isinstance(estimator, (torch.export.ExportedProgram, torch.jit.ScriptModule))

    @staticmethod
    def save(estimator: Any) -> dict[str, bytes]:
        """The program as PyTorch writes it. Raises Invalid for anything else."""
        if not TorchProgram.accepts(estimator):
            raise Invalid(
                f"A {type(estimator).__name__} is no program.", code="registry.no_format",
                hint="Give what torch.export.export, or torch.jit.script, made of the module.",
            )  # fmt: skip
        import torch  # noqa: PLC0415 - loaded by now

        buffer = io.BytesIO()
        if isinstance(estimator, torch.export.ExportedProgram):
            torch.export.save(estimator, buffer)
            return {PROGRAM: buffer.getvalue()}
        torch.jit.save(estimator, buffer)
        return {SCRIPT: buffer.getvalue()}

    @staticmethod
    def adopt(data: bytes, ending: str) -> dict[str, bytes]:
        """A program's file. Raises Invalid for bytes that are no archive."""
        if not data.startswith(_ZIP):
            raise unreadable(f"A {ending} file is an archive, and this is none")
        return {PROGRAM if ending == ".pt2" else SCRIPT: data}

    @staticmethod
    def traits(files: Mapping[str, bytes]) -> Traits:
        """Nothing: no part of the file is read where others are served."""
        only_file(files, PROGRAM, SCRIPT)
        return Traits(reason="A program of PyTorch does not say what it predicts; say task=.")

    @staticmethod
    def load(files: Mapping[str, bytes], task: Task) -> Scorer:
        """The scorer. Raises Denied in a server's process, Unavailable without PyTorch, Invalid for a file that is no program."""
        check_here("torch_program")
        data = only_file(files, PROGRAM, SCRIPT)
        try:
            import torch  # noqa: PLC0415 - optional
        except ImportError:
            raise missing_library("PyTorch", "torch") from None
        try:
            if PROGRAM in files:
                held = torch.export.load(io.BytesIO(data))
                run, tensors = held.module(), list(held.state_dict.values())
            else:
                run = torch.jit.load(io.BytesIO(data), map_location="cpu").eval()
                tensors = list(run.parameters())
        except Exception as error:  # whatever PyTorch's readers say of bytes that are none of theirs
            raise unreadable("PyTorch cannot read the program", error) from None
        kind = next((one.dtype for one in tensors if one.is_floating_point()), torch.float32)

        def score(frame: pl.DataFrame) -> NDArray[np.float64]:
            given = torch.from_numpy(np.require(numbers(frame), requirements=["C", "W"])).to(kind)
            try:
                with torch.inference_mode():
                    found = run(given)
            except _FAULTS as error:
                said = " ".join(str(error).split())[:300]
                raise Invalid(
                    f"The program does not take {frame.height} rows of {frame.width} columns: {said}", code="registry.unscorable",
                    hint="Export it for any number of rows: dynamic_shapes=({0: torch.export.Dim.AUTO},).",
                ) from None  # fmt: skip
            if not isinstance(found, torch.Tensor):
                raise Invalid(
                    f"The program answers a {type(found).__name__}, not one tensor.", code="registry.no_scores", hint="Return the scores."
                )
            return scores(found.double().numpy(), task)

        return score
