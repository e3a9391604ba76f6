"""Which names a piece of code reads, makes and changes at its top level, in the order in which it would run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_SHOWN = {"head", "tail", "describe", "info", "sample", "plot", "hist", "show", "summary", "glimpse"}  # they only show what is there


@dataclass
class Uses:
    """``read``: taken before it is surely made; ``made``: surely made; ``bound``: made perhaps; ``mutated``: changed in place."""

    order: list[str] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    bound: set[str] = field(default_factory=set)
    mutated: set[str] = field(default_factory=set)

    @property
    def read(self) -> set[str]:
        """Names taken from outside."""
        return set(self.order)


def uses_of(statements: Sequence[ast.stmt]) -> Uses:
    """The names that statements use."""
    walker = _Walker()
    walker.block(statements)
    return walker.uses


def bound_names(statements: Sequence[ast.stmt]) -> list[str]:
    """Names that statements bind, perhaps only on one of their ways."""
    return sorted(uses_of(statements).bound)


class _Walker(ast.NodeVisitor):
    """Follows the order of evaluation. What is bound on one way only counts as bound, not as made."""

    def __init__(self) -> None:
        self.uses = Uses()

    def block(self, statements: Iterable[ast.stmt]) -> None:
        for statement in statements:
            self.visit(statement)

    def ways(self, *ways: Sequence[ast.stmt]) -> None:
        """Blocks of which one is run, or none."""
        before, after = set(self.uses.made), []
        for way in ways:
            self.uses.made = set(before)
            self.block(way)
            after.append(self.uses.made)
        self.uses.made = set.intersection(*after) if after else before

    def load(self, name: str) -> None:
        if name not in self.uses.made and name not in self.uses.order:
            self.uses.order.append(name)

    def store(self, name: str) -> None:
        self.uses.made.add(name)
        self.uses.bound.add(name)

    def mutate(self, target: ast.AST) -> None:
        while isinstance(target, (ast.Attribute, ast.Subscript, ast.Starred)):
            target = target.value
        if isinstance(target, ast.Name):
            self.uses.mutated.add(target.id)

    def visit_Name(self, node: ast.Name) -> None:
        (self.load if isinstance(node.ctx, ast.Load) else self.store)(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.mutate(node)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.mutate(node)
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr not in _SHOWN:
            self.mutate(call.func)  # model.fit(x, y): what is called for its effect may change what it belongs to
        self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)
            self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.load(node.target.id)
        self.visit(node.value)
        self.visit(node.target)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.store(alias.asname or alias.name.partition(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self.store(alias.asname or alias.name)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        before = set(self.uses.made)
        self.visit(node.target)
        self.block(node.body)
        self.uses.made = before
        self.block(node.orelse)

    visit_AsyncFor = visit_For  # noqa: N815 - see above

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self.ways(node.body, [])
        self.block(node.orelse)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.ways(node.body, node.orelse)

    def visit_Try(self, node: ast.Try) -> None:
        before = set(self.uses.made)
        self.block(node.body)
        after = [set(self.uses.made)]
        for handler in node.handlers:
            self.uses.made = set(before)
            if handler.type is not None:
                self.visit(handler.type)
            if handler.name:
                self.store(handler.name)
            self.block(handler.body)
            after.append(set(self.uses.made))
        self.uses.made = set.intersection(*after)
        self.block(node.orelse)
        self.block(node.finalbody)

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        before = set(self.uses.made)
        for case in node.cases:
            self.uses.made = set(before)
            self.generic_visit(case)
        self.uses.made = before

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        if node.name:
            self.store(node.name)
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        if node.name:
            self.store(node.name)

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.visit(item.context_expr)
            if item.optional_vars is not None:
                self.visit(item.optional_vars)
        self.block(node.body)

    visit_AsyncWith = visit_With  # noqa: N815 - see above

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.load(target.id)
                self.uses.made.discard(target.id)
            else:
                self.visit(target)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for outer in (*node.decorator_list, *node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)):
            self.visit(outer)
        for annotation in (node.returns, *(a.annotation for a in _arguments(node.args))):
            if annotation is not None:
                self.visit(annotation)
        self.store(node.name)
        self.inner(node.body, {a.arg for a in _arguments(node.args)})

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - see above

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for default in (*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)):
            self.visit(default)
        self.inner([ast.Expr(node.body)], {a.arg for a in _arguments(node.args)})

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for outer in (*node.decorator_list, *node.bases, *(k.value for k in node.keywords)):
            self.visit(outer)
        self.inner(node.body, set())
        self.store(node.name)

    def inner(self, body: Sequence[ast.stmt], own: set[str]) -> None:
        """A scope of its own: what it reads and does not bind comes from here."""
        found = _Walker()
        found.block(body)
        local = own | (found.uses.bound - _declared_outside(body))
        for name in found.uses.order:
            if name not in local:
                self.load(name)
        self.uses.mutated |= found.uses.mutated - local

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        found = _Walker()
        for generator in node.generators:
            found.visit(generator.iter)
            found.visit(generator.target)
            for condition in generator.ifs:
                found.visit(condition)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            found.visit(part)
        for name in found.uses.order:
            self.load(name)

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = comprehension  # noqa: N815 - see above


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    stars = [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *stars]


def _declared_outside(body: Sequence[ast.stmt]) -> set[str]:
    return {
        name for statement in body for node in ast.walk(statement) if isinstance(node, (ast.Global, ast.Nonlocal)) for name in node.names
    }
