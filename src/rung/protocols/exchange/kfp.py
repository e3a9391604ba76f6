"""Kubeflow Pipelines: a plan as pipeline IR (schema 2.1.0), written without the kfp package.

Every output is an artifact that keeps Rung's bytes; conditions and maps need parameters over there, so the step that makes
a value also answers the truths that are asked of it and the positions of the lists that are mapped over. Each step is a
light component whose body calls ``rung.engine.outside``; the image needs rung, kfp and, unless embedded, the project.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rung.core.errors import Invalid
from rung.engine.outside import Errand, Leaf, Taken
from rung.engine.wiring import step_seed
from rung.pipelines.conditions import Clause
from rung.pipelines.materialisers.json import is_plain, tagged
from rung.pipelines.tracing import Either, Handle, Node
from rung.protocols.exchange.kinds import output_types
from rung.protocols.exchange.plans import Exported, conditions_sources, effective_conditions, plain

SCHEMA_VERSION, SDK_VERSION = "2.1.0", "kfp-2.17.0"
TYPES: dict[type, str] = {
    int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", str: "STRING", bool: "BOOLEAN", list: "LIST", dict: "STRUCT",
}  # fmt: skip
_METRICS = "logged_metrics"
_COMMAND = (
    'd=$(mktemp -d)\nprintf "%s" "$0" > "$d/component.py"\n'
    'exec python3 -m kfp.dsl.executor_main --component_module_path "$d/component.py" "$@"\n'
)


def pipeline_spec(
    exported: Exported, *, image: str = "python:3.11", seed: int = 0, code: str = "", environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The IR of a plan as plain values; YAML or JSON of it is what ``kfp`` loads.

    Args:
        image: where the steps run.
        seed: as of a run here; each step's own is derived from it.
        code: the project's files, see ``rung.engine.outside.packed_code``; empty: they lie in the image's working folder.
        environment: variables every step is given.

    Raises:
        Invalid: the plan holds something Kubeflow Pipelines has no word for.
    """
    writer = _Writer(exported, image, seed, code, environment or {})
    for node in exported.plan.nodes.values():
        writer.add(node)
    return writer.document()


class _Writer:
    def __init__(self, exported: Exported, image: str, seed: int, code: str, environment: Mapping[str, str]) -> None:
        self.exported, self.plan = exported, exported.plan
        self.image, self.seed, self.code, self.environment = image, seed, code, environment
        self.components: dict[str, Any] = {}
        self.executors: dict[str, Any] = {}
        self.tasks: dict[str, Any] = {}
        self.names = _task_names(self.plan.nodes)
        self.clauses = effective_conditions(self.plan)
        self.leaves: dict[str, list[tuple[Leaf, str]]] = {key: [] for key in self.plan.nodes}
        self.taken: dict[str, list[tuple[Taken, str]]] = {key: [] for key in self.plan.nodes}
        self.conditions = {key: " && ".join(self._expression(c) for c in clauses) for key, clauses in self.clauses.items()}
        self.sources = {key: self._positions(node) for key, node in self.plan.nodes.items() if node.kind == "map"}

    def document(self) -> dict[str, Any]:
        """Everything together."""
        root: dict[str, Any] = {"dag": {"tasks": self.tasks}}
        outputs = self._answer()
        if outputs:
            root["dag"]["outputs"] = {"artifacts": {name: {"artifactSelectors": [of]} for name, (of, _) in outputs.items()}}
            root["outputDefinitions"] = {"artifacts": {name: kind for name, (_, kind) in outputs.items()}}
        if self.exported.params:
            root["inputDefinitions"] = {"parameters": {p.name: _definition(p.kind, p.default, p.required) for p in self.exported.params}}
        return {
            "pipelineInfo": {"name": _dashed(self.plan.pipeline)},
            "components": self.components,
            "deploymentSpec": {"executors": self.executors},
            "root": root,
            "schemaVersion": SCHEMA_VERSION,
            "sdkVersion": SDK_VERSION,
        }

    def add(self, node: Node) -> None:
        """A node's component, executor and task; a map lies in a loop, a conditional node in a dag of its own."""
        name, options = self.names[node.key], node.step.options
        if options.run == "on_failure":
            raise _no_word(f"step {node.key!r} that runs on failure only", "Run it always, and let it look at what it is given.")
        inputs, arguments = _Inputs(self, node), {}
        for argument, value in node.arguments.items():
            param = self.exported.param_of(node, argument, value)
            arguments[argument] = inputs.param(param) if param else inputs.node(value, argument)
        if node.kind == "map":
            inputs.inner["rung_index"] = "NUMBER_INTEGER"
        errand = Errand(
            pipeline=self.plan.pipeline, step=node.step.name, target=node.step.target, outputs=node.step.outputs, arguments=arguments,
            over=node.over, seed=step_seed(self.seed, node.key), leaves=tuple(leaf for leaf, _ in self.leaves[node.key]),
            taken=tuple(taken for taken, _ in self.taken[node.key]),
        )  # fmt: skip
        made = self._outputs(node)
        self._component(name, node, inputs, made, errand)
        task = self._task(node, inputs)
        if node.kind == "map":
            task = self._loop(name, node, task, inputs, made)
        if self.clauses[node.key] or "items" in task.get("inputs", {}).get("parameters", {}):
            # a loop over what a step answered lies in a dag, too: the local runner looks for its items among a dag's inputs
            task = self._branch(name, node, task, inputs, made)
        needs = [self.names[key] for key in dict.fromkeys([*node.needs, *conditions_sources(self.clauses[node.key])])]
        if options.run == "always":
            task.setdefault("triggerPolicy", {})["strategy"] = "ALL_UPSTREAM_TASKS_COMPLETED"
            needs = needs or [self.names[key] for key, other in self.plan.nodes.items() if other.step.options.run == "on_success"]
        if needs:
            task["dependentTasks"] = sorted(needs)
        self.tasks[name] = task

    def _task(self, node: Node, inputs: _Inputs) -> dict[str, Any]:
        options, name = node.step.options, self.names[node.key]
        task: dict[str, Any] = {
            "cachingOptions": {"enableCache": True} if options.cache else {},
            "componentRef": {"name": f"comp-{name}"},
            "taskInfo": {"name": node.key},
        }
        if inputs.given():
            task["inputs"] = inputs.given()
        if options.retries:
            task["retryPolicy"] = {
                "maxRetryCount": options.retries, "backoffDuration": f"{options.backoff_s:g}s",
                "backoffFactor": options.backoff_factor, "backoffMaxDuration": f"{min(options.backoff_most_s, 3600):g}s",
            }  # fmt: skip
        return task

    def _component(self, name: str, node: Node, inputs: _Inputs, made: dict[str, Any], errand: Errand) -> None:
        self.components[f"comp-{name}"] = _without_empty(
            {"executorLabel": f"exec-{name}", "inputDefinitions": inputs.definitions(), "outputDefinitions": made}
        )
        container: dict[str, Any] = {
            "image": self.image,
            "command": ["sh", "-ec", _COMMAND, self._body(inputs, made, errand)],
            "args": ["--executor_input", "{{$}}", "--function_to_execute", "step"],
        }
        resources = _resources(node)
        if resources:
            container["resources"] = resources
        if self.environment:
            container["env"] = [{"name": key, "value": value} for key, value in sorted(self.environment.items())]
        self.executors[f"exec-{name}"] = {"container": container}

    def _body(self, inputs: _Inputs, made: dict[str, Any], errand: Errand) -> str:
        """The Python source of a light component."""
        words = {"NUMBER_INTEGER": "int", "NUMBER_DOUBLE": "float", "STRING": "str", "BOOLEAN": "bool", "LIST": "list", "STRUCT": "dict"}
        takes = [f"{name}: Input[List[Artifact]]" if many else f"{name}: Input[Artifact]" for name, (_, many, _) in inputs.files.items()]
        takes += [f"{name}: {words[kind]}" for name, kind in inputs.inner.items()]
        takes += [f"{name}: Output[{_class(kind)}]" for name, kind in made["artifacts"].items()]
        answers = [f"({name!r}, {words[kind['parameterType']]})" for name, kind in made.get("parameters", {}).items()]
        answer = f" -> NamedTuple('Outputs', [{', '.join(answers)}])" if answers else ""
        given = ", ".join(f"{name!r}: {name}" for name in inputs.inner)
        files = ", ".join(f"{name!r}: {name}" for name in inputs.files)
        outputs = ", ".join(f"{name!r}: {name}" for name in made["artifacts"] if name != _METRICS)
        return "\n".join(
            [
                "from typing import List, NamedTuple", "", "from kfp.dsl import *", "",
                f"ERRAND = {_quoted(msgspec.json.encode(errand, enc_hook=plain).decode())}", f"CODE = {_quoted(self.code)}", "", "",
                f"def step({', '.join(takes)}){answer}:", "    from rung.engine.outside import run_step", "",
                f"    answer = run_step(ERRAND, {{{given}}}, {{{files}}}, {{{outputs}}}, {_METRICS}, CODE)",
                "    return answer" if answers else "    assert not answer", "",
            ]
        )  # fmt: skip

    def _outputs(self, node: Node) -> dict[str, Any]:
        kinds = output_types(node)
        artifacts = {name: _artifact(kind) for name, kind in zip(node.step.outputs, kinds, strict=True)}
        params = {name: {"parameterType": "BOOLEAN"} for _, name in self.leaves[node.key]}
        params |= {name: {"parameterType": "LIST"} for _, name in self.taken[node.key]}
        return _without_empty({"artifacts": {**artifacts, _METRICS: _artifact("Metrics")}, "parameters": params})

    def _loop(self, name: str, node: Node, task: dict[str, Any], inputs: _Inputs, made: dict[str, Any]) -> dict[str, Any]:
        """The task in a dag that is run once an item; its outputs are lists."""
        inner = {**task, "inputs": inputs.passed_on({"rung_index": "item"})}
        artifacts = {key: kind for key, kind in made["artifacts"].items() if key != _METRICS}
        items, definition = self.sources[node.key]
        definitions = inputs.definitions()
        definitions.setdefault("parameters", {}).pop("rung_index")
        definitions["parameters"]["item"] = {"parameterType": "NUMBER_INTEGER"}
        outer = inputs.given()
        outer.setdefault("parameters", {})
        outer["parameters"].pop("rung_index", None)
        if definition is not None:
            definitions["parameters"]["items"] = {"parameterType": "LIST"}
            outer["parameters"]["items"] = definition
        self.components[f"comp-each-{name}"] = {
            "dag": {
                "tasks": {name: inner},
                "outputs": {
                    "artifacts": {k: {"artifactSelectors": [{"outputArtifactKey": k, "producerSubtask": name}]} for k in artifacts}
                },
            },
            "inputDefinitions": _without_empty(definitions),
            "outputDefinitions": {"artifacts": {key: {**kind, "isArtifactList": True} for key, kind in artifacts.items()}},
        }
        loop: dict[str, Any] = {
            "componentRef": {"name": f"comp-each-{name}"},
            "inputs": _without_empty(outer),
            "parameterIterator": {"itemInput": "item", "items": items},
            "taskInfo": {"name": f"each-{node.key}"},
        }
        if node.batch:
            loop["iteratorPolicy"] = {"parallelismLimit": node.batch}
        return loop

    def _branch(self, name: str, node: Node, task: dict[str, Any], inputs: _Inputs, made: dict[str, Any]) -> dict[str, Any]:
        """The task in a dag that is run when the condition holds; without one, always."""
        many = node.kind == "map"
        artifacts = {key: kind for key, kind in made["artifacts"].items() if not (many and key == _METRICS)}
        params = {} if many else made.get("parameters", {})
        truths = {
            channel: {"taskOutputParameter": {"producerTask": task_name, "outputParameterKey": key}}
            for channel, task_name, key in self._channels(node.key)
        }
        outer, inner_inputs = dict(task.get("inputs", {})), inputs.passed_on({})
        definitions = inputs.definitions()
        definitions["parameters"] = {**definitions.get("parameters", {}), **{name: {"parameterType": "BOOLEAN"} for name in truths}}
        if many:
            for parts in (definitions["parameters"], inner_inputs.get("parameters", {})):
                parts.pop("rung_index", None)
            if "items" in outer.get("parameters", {}):
                definitions["parameters"]["items"] = {"parameterType": "LIST"}
                inner_inputs.setdefault("parameters", {})["items"] = {"componentInputParameter": "items"}
        self.components[f"comp-when-{name}"] = _without_empty(
            {
                "dag": {
                    "tasks": {name: {**task, "inputs": _without_empty(inner_inputs)}},
                    "outputs": _without_empty(
                        {
                            "artifacts": {
                                k: {"artifactSelectors": [{"outputArtifactKey": k, "producerSubtask": name}]} for k in artifacts
                            },
                            "parameters": {
                                k: {"valueFromParameter": {"outputParameterKey": k, "producerSubtask": name}} for k in params
                            },
                        }
                    ),
                },
                "inputDefinitions": _without_empty(definitions),
                "outputDefinitions": _without_empty(
                    {"artifacts": {k: {**kind, **({"isArtifactList": True} if many else {})} for k, kind in artifacts.items()},
                     "parameters": params}
                ),
            }
        )  # fmt: skip
        outer["parameters"] = {**outer.get("parameters", {}), **truths}
        branch = {
            "componentRef": {"name": f"comp-when-{name}"},
            "inputs": _without_empty(outer),
            "taskInfo": {"name": f"when-{node.key}"},
            "triggerPolicy": {"condition": self.conditions[node.key]},
        }
        return _without_empty({**branch, "triggerPolicy": _without_empty(branch["triggerPolicy"])})

    def _expression(self, clause: Clause) -> str:
        """A clause in CEL, over truths that the steps answer."""
        if clause.operator in {"and", "or"}:
            word = " && " if clause.operator == "and" else " || "
            return f"({word.join(self._expression(part) for part in clause.parts)})"
        if clause.operator == "not":
            return f"!({self._expression(clause.parts[0])})"
        if clause.operand is None:
            return "true" if clause.value else "false"
        if not isinstance(clause.operand, Handle) or isinstance(clause.value, (Handle, Either)):
            raise _no_word(f"the condition {clause}", "Let a step compare, and branch on its answer.")
        handle = clause.operand
        if self.plan.nodes[handle.key].kind == "map":
            raise _no_word(f"the condition {clause} on the results of a map", "Let a step judge them, and branch on its answer.")
        leaf = Leaf(operator=clause.operator, output=handle.index, path=handle.path, value=clause.value)
        return f"inputs.parameter_values['{_channel(self.names[handle.key], self._named(self.leaves[handle.key], leaf, 'truth'))}'] == true"

    def _channels(self, key: str) -> list[tuple[str, str, str]]:
        found = re.findall(r"parameter_values\['(pipelinechannel--(.+?)--(\w+))'\]", self.conditions[key])
        return list(dict.fromkeys((channel, task, name) for channel, task, name in found))

    @staticmethod
    def _named(held: list[tuple[Any, str]], wanted: Any, word: str) -> str:
        for known, name in held:
            if known == wanted:
                return name
        held.append((wanted, f"{word}_{len(held)}"))
        return held[-1][1]

    def _positions(self, node: Node) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Over which positions a map goes: the iterator's items, and where the input ``items`` comes from."""
        value = node.arguments[node.over[0]]
        if self.exported.param_of(node, node.over[0], value):
            raise _no_word(f"a map over the parameter of {node.key!r}", "Hand the parameter to a step that answers the list.")
        while isinstance(value, Handle) and self.plan.nodes[value.key].kind == "map" and not value.path:
            outer = self.plan.nodes[value.key]
            value = outer.arguments[outer.over[0]]
        if isinstance(value, (list, tuple)):
            return {"raw": json.dumps(list(range(len(value))))}, None
        if not isinstance(value, Handle):
            raise _no_word(f"what {node.key!r} maps over", "Map over a list, or over one output of a step.")
        name = self._named(self.taken[value.key], Taken(output=value.index, path=value.path), "positions")
        producer = {"producerTask": self.names[value.key], "outputParameterKey": name}
        return {"inputParameter": "items"}, {"taskOutputParameter": producer}

    def _answer(self) -> dict[str, tuple[dict[str, str], dict[str, Any]]]:
        """Root outputs: what the pipeline answers, where it is the whole output of an unconditional step."""
        answer, found = self.plan.answer, {}
        for handle in answer if isinstance(answer, (list, tuple)) else [answer]:
            if not isinstance(handle, Handle) or handle.path or self.clauses[handle.key] or self.plan.nodes[handle.key].kind == "map":
                continue
            node = self.plan.nodes[handle.key]
            for index, output in enumerate(node.step.outputs):
                if handle.index in {None, index}:
                    of = {"outputArtifactKey": output, "producerSubtask": self.names[handle.key]}
                    found[f"{self.names[handle.key]}-{output}"] = (of, _artifact(output_types(node)[index]))
        return found


class _Inputs:
    """The inputs of one task: files by their source, parameters of the pipeline, and how arguments are made of them."""

    def __init__(self, writer: _Writer, node: Node) -> None:
        self._writer, self._node = writer, node
        self.files: dict[str, tuple[dict[str, str], bool, str]] = {}
        self.inner: dict[str, str] = {}
        self._params: dict[str, str] = {}

    def param(self, name: str) -> list[Any]:
        """An argument that is a parameter of the pipeline."""
        kind = next(p.kind for p in self._writer.exported.params if p.name == name)
        inner = f"param_{_identifier(name)}"
        self.inner[inner] = TYPES[kind]
        self._params[inner] = name
        return ["param", inner]

    def node(self, value: Any, argument: str) -> list[Any]:
        """An argument in the words of ``rung.engine.outside``."""
        if isinstance(value, Either):
            raise _no_word(f"either(…) in step {self._node.key!r}", "Let both branches end in steps that no other one takes from.")
        if isinstance(value, Handle):
            return self._handle(value)
        named = self._writer.exported.param_of(self._node, "", value)
        if named:
            return self.param(named)
        if is_plain(value):
            return ["value", tagged(value)]
        if isinstance(value, (list, tuple)):
            return ["tuple" if isinstance(value, tuple) else "list", [self.node(item, argument) for item in value]]
        if isinstance(value, dict):
            return ["dict", [[str(key), self.node(item, argument)] for key, item in value.items()]]
        raise _no_word(f"argument {argument!r} of step {self._node.key!r}, a {type(value).__name__}", "Let a step make it.")

    def _handle(self, handle: Handle) -> list[Any]:
        producer = self._writer.plan.nodes[handle.key]
        many, path = producer.kind == "map", list(handle.path)
        kinds = output_types(producer)
        chosen = range(len(kinds)) if many or handle.index is None else [handle.index]
        names = [self._file(handle.key, producer.step.outputs[i], kinds[i], many=many) for i in chosen]
        if many:
            return ["results", names, path]
        return ["file", names[0], path] if len(names) == 1 else ["files", names, path]

    def _file(self, key: str, output: str, kind: str, *, many: bool) -> str:
        source = {"producerTask": self._writer.names[key], "outputArtifactKey": output}
        for name, (known, _, _) in self.files.items():
            if known == source:
                return name
        name = f"from_{_identifier(key)}_{output}"
        self.files[name] = (source, many, kind)
        return name

    def given(self) -> dict[str, Any]:
        """Where the inputs come from, seen from the pipeline."""
        return _without_empty(
            {
                "artifacts": {name: {"taskOutputArtifact": source} for name, (source, _, _) in self.files.items()},
                "parameters": {inner: {"componentInputParameter": name} for inner, name in self._params.items()},
            }
        )

    def passed_on(self, renamed: Mapping[str, str]) -> dict[str, Any]:
        """Where the inputs come from, seen from inside a dag that is given them under the same names."""
        return _without_empty(
            {
                "artifacts": {name: {"componentInputArtifact": name} for name in self.files},
                "parameters": {inner: {"componentInputParameter": renamed.get(inner, inner)} for inner in self.inner},
            }
        )

    def definitions(self) -> dict[str, Any]:
        """What the component takes."""
        optional = {"isOptional": True} if self._node.step.options.run == "always" else {}
        return _without_empty(
            {
                "artifacts": {
                    name: {**_artifact(kind), **({"isArtifactList": True} if many else {}), **optional}
                    for name, (_, many, kind) in self.files.items()
                },
                "parameters": {name: {"parameterType": kind} for name, kind in self.inner.items()},
            }
        )


def _artifact(kind: str) -> dict[str, Any]:
    return {"artifactType": {"schemaTitle": f"system.{kind}", "schemaVersion": "0.0.1"}}


def _class(kind: dict[str, Any]) -> str:
    return str(kind["artifactType"]["schemaTitle"]).removeprefix("system.")


def _definition(kind: type, default: Any, required: bool) -> dict[str, Any]:  # noqa: FBT001
    found: dict[str, Any] = {"parameterType": TYPES[kind]}
    if not required:
        found["isOptional"] = True
        if default is not None:
            found["defaultValue"] = kind(default)
    return found


def _resources(node: Node) -> dict[str, Any]:
    options, found = node.step.options, {}
    if options.cpus:
        found["resourceCpuRequest"] = found["resourceCpuLimit"] = f"{options.cpus:g}"
    if options.memory_bytes:
        found["resourceMemoryRequest"] = found["resourceMemoryLimit"] = str(options.memory_bytes)
    if options.gpus:
        found["accelerator"] = {"resourceCount": f"{max(1, round(options.gpus))}", "resourceType": "nvidia.com/gpu"}  # type: ignore[assignment]
    return found


def _task_names(keys: Sequence[str] | Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in keys:
        name, number = _dashed(key), 2
        while name in found.values():
            name, number = f"{_dashed(key)}-{number}", number + 1
        found[key] = name
    return found


def _dashed(name: str) -> str:
    return re.sub(r"-+", "-", re.sub(r"[^a-z0-9]", "-", name.lower())).strip("-") or "step"


def _identifier(name: str) -> str:
    text = re.sub(r"\W", "_", name)
    return f"{text}_" if keyword.iskeyword(text) else text


def _channel(task: str, name: str) -> str:
    return f"pipelinechannel--{task}--{name}"


def _quoted(text: str) -> str:
    """A Python literal that holds no placeholder of KFP."""
    return repr(text).replace("{{$", "{" + "\\x7b$")


def _without_empty(parts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in parts.items() if value}


def _no_word(what: str, hint: str) -> Invalid:
    return Invalid(f"Kubeflow Pipelines has no word for {what}.", code="exchange.no_word", hint=hint)
