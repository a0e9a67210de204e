"""Small changes to one function each, made by mutmut's operators and put in place in memory. Must not know any test.

mutmut itself writes the mutants into a copy of the tree and starts pytest anew for each, which takes hours here. So
only its operators are used: a mutated function is compiled, and its code takes the place of the one that runs. That way
decorated functions are mutated, too, which mutmut leaves out. What is left out, by it or here: annotations,
docstrings, decorators, calls of `len` and `isinstance`, what runs only when a module is imported, and sentences.
"""

import ast
import gc
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import libcst
from attrs import define
from libcst.metadata import (
    CodePosition,
    CodeRange,
    MetadataWrapper,
    PositionProvider,
    WhitespaceInclusivePositionProvider,
)
from mutmut.mutation.file_mutation import Mutation, MutationVisitor, deep_replace
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import get_ignored_lines

PLAIN = (bool, int, float, str, type(None))


class _Visitor(MutationVisitor):
    """mutmut's, that goes into decorated functions, and notes where each mutation is."""

    METADATA_DEPENDENCIES = (*MutationVisitor.METADATA_DEPENDENCIES, WhitespaceInclusivePositionProvider)

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.lines: list[int] = []
        self.places: list[CodeRange] = []

    def _skip_node_and_children(self, node: libcst.CSTNode) -> bool:
        if isinstance(node, libcst.FunctionDef) and node.decorators:
            return any(getattr(each.decorator, "value", "") == "overload" for each in node.decorators)
        return super()._skip_node_and_children(node)

    def _create_mutations(self, node: libcst.CSTNode) -> None:
        super()._create_mutations(node)
        new = len(self.mutations) - len(self.lines)
        self.lines += [self.get_metadata(PositionProvider, node).start.line] * new
        self.places += [self.get_metadata(WhitespaceInclusivePositionProvider, node)] * new


@define
class Function:
    """A function of a module, or a method of a class of it."""

    name: str
    first: int
    last: int

    def within(self, code: CodeType) -> CodeType:
        """The code of this function in a module's."""
        return next(c for c in _codes(code) if c.co_qualname == self.name and c.co_firstlineno == self.first)


@define(eq=False)
class Mutant:
    """One change of one function.

    Attributes:
        module: the path of the module's file.
        function: where the change is.
        lines: those of the statement that is changed; a test that runs none of them cannot tell.
        place: what of the text is changed.
    """

    module: "Module"
    function: Function
    lines: range
    mutation: Mutation
    place: CodeRange

    def source(self) -> str:
        """The module as it would read."""
        if not isinstance(self.mutation.original_node, libcst.Match):  # whose indentation depends on where it is
            before, after = self.module.offset(self.place.start), self.module.offset(self.place.end)
            return (
                self.module.text[:before]
                + self.module.tree.code_for_node(self.mutation.mutated_node)
                + self.module.text[after:]
            )
        changed = deep_replace(self.module.tree, self.mutation.original_node, self.mutation.mutated_node)
        assert isinstance(changed, libcst.Module)
        return changed.code

    def change(self) -> tuple[str, str]:
        """The changed lines, before and after."""
        was, now = self.module.text.splitlines(), self.source().splitlines()
        while was and now and was[0] == now[0]:
            del was[0], now[0]
        while was and now and was[-1] == now[-1]:
            del was[-1], now[-1]
        return " ".join(map(str.strip, was)), " ".join(map(str.strip, now))

    def install(self) -> bool:
        """Put it in place, in this process and for good; whether that changes anything."""
        code = compile(self.source(), self.module.file, "exec", dont_inherit=True)
        mutated, changed = self.function.within(code), False
        functions = self.module.live[self.function.name, self.function.first]
        assert functions, f"{self.module.path}: no function {self.function.name} is there"
        for function in functions:
            changed |= function.__code__ != mutated
            function.__code__ = mutated
        for inner in _codes(mutated):
            for function in self.module.live.get((inner.co_qualname, inner.co_firstlineno), ()):  # made at import
                if function.__code__.co_freevars == inner.co_freevars:
                    function.__code__ = inner
        if changed:
            return True
        installed = [self._install_defaults(function, code) for function in functions]
        return any(installed)

    def _install_defaults(self, function: FunctionType, code: CodeType) -> bool:
        """The change is in the values of parameters that were left out, which are no part of a function's code."""
        namespace: dict[str, Any] = {"__name__": function.__module__}
        exec(code, namespace)
        found: Any = namespace[self.function.name.partition(".")[0]]
        for name in self.function.name.split(".")[1:]:
            found = vars(found)[name]
        found = getattr(found, "__wrapped__", found)
        before = function.__defaults__, function.__kwdefaults__
        mixed = zip(found.__defaults__ or (), function.__defaults__ or (), strict=True)
        function.__defaults__ = tuple(new if isinstance(new, PLAIN) else old for new, old in mixed)
        for name, new in (found.__kwdefaults__ or {}).items():
            if isinstance(new, PLAIN):
                function.__kwdefaults__ = {**function.__kwdefaults__, name: new}
        return before != (function.__defaults__, function.__kwdefaults__)


class Module:
    """A module's source, its functions as they run, and its mutants. To be made when the module has been imported."""

    def __init__(self, path: str, file: str) -> None:
        self.path, self.file, self.live = path, file, _live(file)
        self.text = Path(file).read_text(encoding="utf-8")
        self.syntax = ast.parse(self.text)
        wrapper = MetadataWrapper(libcst.parse_module(self.text))
        self._visitor = _Visitor(mutation_operators, get_ignored_lines(path, self.text, wrapper))
        self.tree = wrapper.visit(self._visitor)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(map(len, self.text.splitlines(keepends=True)))]

    def offset(self, position: CodePosition) -> int:
        """Where in the text a position is."""
        return self._starts[position.line - 1] + position.column

    def mutants(self) -> Iterator[Mutant]:
        """Those inside functions, but for changes of sentences: what a message says is no behaviour."""
        functions = list(_functions(self.syntax))
        statements = [each for each in ast.walk(self.syntax) if isinstance(each, ast.stmt)]
        visitor = self._visitor
        for mutation, line, place in zip(visitor.mutations, visitor.lines, visitor.places, strict=True):
            node = mutation.original_node
            if isinstance(node, libcst.SimpleString) and " " in node.value:
                continue
            for function in functions:
                if function.first <= line <= function.last:
                    yield Mutant(self, function, _statement(statements, line, function), mutation, place)


def _live(file: str) -> dict[tuple[str, int], list[FunctionType]]:
    """The functions that were made of this file, by name and first line."""
    found = defaultdict(list)
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and each.__code__.co_filename == file:
            found[each.__code__.co_qualname, each.__code__.co_firstlineno].append(each)
    return found


def _functions(tree: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[Function]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            yield Function(prefix + node.name, first, node.end_lineno or node.lineno)


def _statement(statements: list[ast.stmt], line: int, function: Function) -> range:
    """The lines of the innermost statement there, without those of the statements in it."""
    there = [each for each in statements if each.lineno <= line <= (each.end_lineno or 0)]
    innermost = max(there, key=lambda statement: statement.lineno)
    if isinstance(innermost, ast.FunctionDef) and innermost.lineno <= function.first + len(innermost.decorator_list):
        return range(function.first + 1, function.last + 1)
    inner = getattr(innermost, "body", None) or getattr(innermost, "cases", None)
    last = innermost.lineno if isinstance(innermost, ast.Match) else innermost.end_lineno or line
    return range(innermost.lineno, max(innermost.lineno, inner[0].lineno - 1 if inner and last > line else last) + 1)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _codes(each)
