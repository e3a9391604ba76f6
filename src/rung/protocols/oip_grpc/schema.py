"""Messages and calls out of ``open_inference.proto``, read at run time: nothing is generated, so nothing can be out of date.

The pool is our own: a client library in the same process may have registered the same names from a file of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FILE = "open_inference.proto"
SERVICE = "inference.GRPCInferenceService"
_WORD = re.compile(r'"[^"]*"|[A-Za-z_][A-Za-z0-9_.]*|[0-9]+|[{}()<>=;,]')
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL, "string": _Field.TYPE_STRING, "bytes": _Field.TYPE_BYTES, "double": _Field.TYPE_DOUBLE,
    "float": _Field.TYPE_FLOAT, "int32": _Field.TYPE_INT32, "int64": _Field.TYPE_INT64, "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}  # fmt: skip


@cache
def pool() -> descriptor_pool.DescriptorPool:
    """The pool that holds the file."""
    made = descriptor_pool.DescriptorPool()
    made.Add(parsed(files(__package__).joinpath(FILE).read_text("utf-8")))
    return made


@cache
def message(name: str) -> Any:
    """The class of a message of the protocol, by its name in the package; its fields are known at run time only."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(f"inference.{name}"))


def parsed(text: str) -> descriptor_pb2.FileDescriptorProto:
    """The descriptor of a file in the part of proto3 that ours needs: messages, oneofs, maps and one service."""
    words = iter(_WORD.findall(re.sub(r"//[^\n]*", "", text)))
    file = descriptor_pb2.FileDescriptorProto(name=f"rung/{FILE}", syntax="proto3")
    for word in words:
        if word == "package":
            file.package = next(words)
        elif word == "message":
            _message(words, file.message_type.add(name=next(words)))
        elif word == "service":
            _service(words, file.service.add(name=next(words)), file.package)
    known = {kind.name: "" for kind in file.message_type}
    for kind in file.message_type:
        _resolve(kind, f".{file.package}", known)
    return file


def _message(words: Iterator[str], into: descriptor_pb2.DescriptorProto) -> None:
    _past(words, "{")
    oneof: int | None = None
    for word in words:
        match word:
            case "}":
                if oneof is None:
                    return
                oneof = None
            case ";":
                pass
            case "message":
                _message(words, into.nested_type.add(name=next(words)))
            case "oneof":
                into.oneof_decl.add(name=next(words))
                oneof = len(into.oneof_decl) - 1
                _past(words, "{")
            case "map":
                _map(words, into)
            case _:
                repeated = word == "repeated"
                _field(words, next(words) if repeated else word, into, repeated=repeated, oneof=oneof)


def _field(words: Iterator[str], kind: str, into: descriptor_pb2.DescriptorProto, *, repeated: bool, oneof: int | None = None) -> None:
    field = into.field.add(name=next(words))
    _past(words, "=")
    field.number = int(next(words))
    field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, kind
    if oneof is not None:
        field.oneof_index = oneof
    field.json_name = re.sub("_([a-z0-9])", lambda found: found[1].upper(), field.name)


def _map(words: Iterator[str], into: descriptor_pb2.DescriptorProto) -> None:
    _past(words, "<")
    key, _, value = next(words), next(words), next(words)
    _past(words, ">")
    name = next(words)
    entry = into.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
    entry.options.map_entry = True
    for kind, place in ((key, "key"), (value, "value")):
        _field(iter((place, "=", "1" if place == "key" else "2")), kind, entry, repeated=False)
    _field(iter((name, *(next(words) for _ in range(2)))), entry.name, into, repeated=True)


def _service(words: Iterator[str], into: descriptor_pb2.ServiceDescriptorProto, package: str) -> None:
    _past(words, "{")
    for word in words:
        if word == "}":
            return
        if word != "rpc":
            continue
        call = into.method.add(name=next(words))
        for streamed, kind in (("client_streaming", "input_type"), ("server_streaming", "output_type")):
            _past(words, "(")
            name = next(words)
            if name == "stream":
                setattr(call, streamed, True)
                name = next(words)
            setattr(call, kind, f".{package}.{name}")
            _past(words, ")")


def _past(words: Iterator[str], wanted: str) -> None:
    for word in words:
        if word == wanted:
            return


def _resolve(kind: descriptor_pb2.DescriptorProto, scope: str, known: dict[str, str]) -> None:
    """Give each field's message its whole name: one nested here, else one of the file."""
    here = f"{scope}.{kind.name}"
    nested = {inner.name for inner in kind.nested_type}
    package = "." + here.split(".")[1]
    for field in kind.field:
        if field.type == _Field.TYPE_MESSAGE:
            field.type_name = f"{here if field.type_name in nested else package}.{field.type_name}"
    for inner in kind.nested_type:
        _resolve(inner, here, known)
