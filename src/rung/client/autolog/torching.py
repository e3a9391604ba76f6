"""What is known of modules and optimizers of PyTorch, whoever trains them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

_DEEPEST = 2


def optimizer_params(optimizer: Any, name: str = "optimizer") -> dict[str, Any]:
    """Class and settings of an optimizer of PyTorch."""
    group = optimizer.param_groups[0]
    held = {key: group.get(key, value) for key, value in getattr(optimizer, "defaults", {}).items()}
    return {name: type(optimizer).__name__, **{f"{name}.{key}": _plain(value) for key, value in held.items()}}


def summary(module: Any) -> str:
    """The parts of a module, two levels deep, with the number of their params."""
    lines = [("module", "kind", "params", "trained")]
    lines += [(name, type(part).__name__, *_counts(part)) for name, part in _parts(module, "", 1)]
    lines.append(("total", type(module).__name__, *_counts(module)))
    widths = [max(len(line[place]) for line in lines) for place in range(4)]
    return "\n".join("  ".join(text.ljust(wide) for text, wide in zip(line, widths, strict=True)).rstrip() for line in lines) + "\n"


def weights(module: Any) -> bytes:
    """All params and buffers as safetensors: numbers and names, no code."""
    save = import_module("safetensors.torch").save
    return bytes(save({key: value.detach().cpu().contiguous().clone() for key, value in module.state_dict().items()}))


def _parts(module: Any, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for name, part in module.named_children():
        yield prefix + name, part
        if depth < _DEEPEST:
            yield from _parts(part, f"{prefix}{name}.", depth + 1)


def _counts(module: Any) -> tuple[str, str]:
    held = list(module.parameters())
    return str(sum(item.numel() for item in held)), str(sum(item.numel() for item in held if item.requires_grad))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") and getattr(value, "numel", lambda: 1)() == 1 else value
