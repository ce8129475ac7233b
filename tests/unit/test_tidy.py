"""House rules that no linter knows.  Each breach names the rule and the line."""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
CODE: Final = ("engine", "adapters")
TESTS: Final = ("tests",)

#: A function that does not fit a screen has two jobs; 25 lines is the habit.
FUNCTION_LINES_MAX: Final = 70
#: A longer module is two modules, unless its docstring says why not.
MODULE_LINES_MAX: Final = 400

#: The machine moves phases, drafts carry them, errors quote them.
PHASE_WRITERS: Final = ("_machine.py", "_changes.py", "errors.py")
#: In the engine, one module reads the clock; everybody else is told the time.
CLOCK: Final = "_clock.py"
#: But for what replaces time in a simulation, and measures how long that took.
FUZZ: Final = (
    "engine/interlock/testing/fuzz/",
    "engine/interlock/testing/hypothesis.py",
    "engine/interlock/testing/_shared_contract.py",
)
#: In the engine, one module knows the state-machine library.
MACHINE: Final = "_machine.py"

TODO: Final = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
#: A2A's spelling belongs to the modules that speak A2A.
SPELLING: Final = re.compile(r"\b\w*[Cc]anceled\w*\b")


def texts(*folders: str) -> Iterator[tuple[Path, str]]:
    """Every module below the folders: its path, its text."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), path.read_text(encoding="utf-8")


def modules(*folders: str, having: str = "") -> Iterator[tuple[Path, str, ast.Module]]:
    """Every module that has this text: its path, its text, its tree (that takes a while)."""
    for path, text in texts(*folders):
        if having in text:
            yield path, text, ast.parse(text)


def targets(node: ast.AST) -> list[ast.AST]:
    """What a statement assigns to, also inside a tuple of targets."""
    match node:
        case ast.Assign(targets=found):
            return [part for target in found for part in ast.walk(target)]
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
            return [target]
        case _:
            return []


def phase_writes(path: Path, tree: ast.Module) -> Iterator[str]:
    """Assignments to a `.phase` by anyone but the machine, also by way of `setattr`."""
    for node in ast.walk(tree):
        for target in targets(node):
            if (
                isinstance(target, ast.Attribute)
                and target.attr == "phase"
                and not _own(path, target)
            ):
                yield f"{path}:{target.lineno}: only the machine writes a phase"
        match node:
            case ast.Call(
                func=ast.Name(id="setattr") | ast.Attribute(attr="__setattr__"),
                args=[*_, ast.Constant(value="phase"), _],
            ):
                yield f"{path}:{node.lineno}: only the machine writes a phase"
            case _:
                pass


def _own(path: Path, target: ast.Attribute) -> bool:
    """An adapter's view of a task may note, in itself, which phase it was shown."""
    match target:
        case ast.Attribute(value=ast.Name(id="self")):
            return path.parts[0] == "adapters"
        case _:
            return False


def phase_sets(path: Path, tree: ast.Module) -> Iterator[str]:
    """Sets of two or more phases that are spelt out where nobody can find them."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Set | ast.Tuple | ast.List)
            and len(node.elts) > 1
            and all(is_phase(element) for element in node.elts)
        ):
            yield f"{path}:{node.lineno}: name this set of phases in _phases.py"


def is_phase(node: ast.expr) -> bool:
    """Whether a node reads `Phase.SOMETHING`."""
    match node:
        case ast.Attribute(value=ast.Name(id="Phase")):
            return True
        case _:
            return False


def clock_reads(path: Path, tree: ast.Module) -> Iterator[str]:
    """Reads of a clock, and sleeps, that a test's clock could not move."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found = any(name.name == "time" for name in names)
            case ast.ImportFrom(module="time" | "asyncio"):
                found = True  # `from asyncio import sleep` would hide one
            case ast.Attribute(value=ast.Name(id="asyncio"), attr="sleep" | "timeout" | "wait_for"):
                found = True
            case ast.Attribute(value=ast.Name(id="datetime" | "date"), attr=name):
                found = name in {"now", "utcnow", "today"}
            case _:
                found = False
        if found:
            assert isinstance(node, ast.Import | ast.ImportFrom | ast.Attribute)
            yield f"{path}:{node.lineno}: time is a port, see _clock.py"


def long_functions(path: Path, tree: ast.Module) -> Iterator[str]:
    """Functions that do not fit a screen."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{path}:{node.lineno}: {node.name} has {lines} lines"


def bare_todos(path: Path, text: str) -> Iterator[str]:
    """Comments that postpone something without saying where it is tracked."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and TODO.search(token.string):
            yield f"{path}:{token.start[0]}: give it an id in specs/requirements.md, or do it"


def swallowed(path: Path, tree: ast.Module) -> Iterator[str]:
    """Handlers that catch everything and say nothing."""
    for node in ast.walk(tree):
        match node:
            case ast.ExceptHandler(
                type=None | ast.Name(id="Exception" | "BaseException"),
                body=[ast.Pass() | ast.Continue() | ast.Expr(value=ast.Constant())],
            ):
                yield f"{path}:{node.lineno}: name the failure; never swallow it"
            case _:
                pass


def functions_of(tree: ast.Module, prefix: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Top-level and nested functions whose name starts so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
            prefix
        ):
            yield node


def test_only_the_machine_writes_a_phase() -> None:
    """A phase that anyone may set is a flag, not a machine.

    Source: STYLE, "one writer", R-LIFE-04.
    """
    breaches = [
        breach
        for path, _, tree in modules(*CODE, having="phase")
        if path.name not in PHASE_WRITERS
        for breach in phase_writes(path, tree)
    ]
    assert breaches == []


def test_sets_of_phases_are_named_in_one_module() -> None:
    """`if phase in {…}` written in two places will one day differ.  Source: ours."""
    breaches = [
        breach
        for path, _, tree in modules(*CODE, having="Phase.")
        if path.name != "_phases.py"
        for breach in phase_sets(path, tree)
    ]
    assert breaches == []


def test_the_engine_reads_time_in_one_module() -> None:
    """A deadline that a test cannot move is a deadline that nobody tests.  Source: ours."""
    breaches = [
        breach
        for path, _, tree in modules("engine")
        if path.name != CLOCK and not str(path).startswith(FUZZ)
        for breach in clock_reads(path, tree)
    ]
    assert breaches == []


def test_the_state_machine_library_is_known_to_one_module() -> None:
    """An upgrade of `transitions` must have one place to break.  Source: R-LIFE-21."""
    knowing = {
        path.name
        for path, _, tree in modules(*CODE, having="transitions")
        for node in ast.walk(tree)
        if (isinstance(node, ast.Import) and any(n.name == "transitions" for n in node.names))
        or (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").partition(".")[0] == "transitions"
        )
    }
    assert knowing == {MACHINE}


def test_functions_fit_a_screen() -> None:
    """Also in tests and benches: seventy lines is the wall.  Source: STYLE 2.2."""
    breaches = [
        breach
        for path, _, tree in modules(*CODE, *TESTS, "bench", "examples")
        for breach in long_functions(path, tree)
    ]
    assert breaches == []


def test_a_long_module_says_why_it_is_long() -> None:
    """Over four hundred lines needs a reason, in a docstring that says "long".  Source: STYLE."""
    breaches = [
        f"{path}: {len(text.splitlines())} lines"
        for path, text in texts(*CODE)
        if len(text.splitlines()) > MODULE_LINES_MAX
        and "long" not in (ast.get_docstring(ast.parse(text)) or "")
    ]
    assert breaches == []


def test_nothing_is_postponed_without_an_id() -> None:
    """A TODO that is tracked nowhere is a wish.  Source: STYLE 2.6."""
    breaches = [
        breach
        for path, text in texts(*CODE, *TESTS)
        if TODO.search(text)  # To take a module apart takes a while.
        for breach in bare_todos(path, text)
    ]
    assert breaches == []


def test_no_failure_is_swallowed() -> None:
    """`except Exception: pass` hides the bug of next year.  Source: STYLE 2.7."""
    breaches = [
        breach
        for path, _, tree in modules(*CODE, having="except")
        for breach in swallowed(path, tree)
    ]
    assert breaches == []


def test_the_engine_spells_cancelled_with_two_l() -> None:
    """A2A's CANCELED belongs to the modules that speak A2A.  Source: STYLE 2.3."""
    breaches = [
        f"{path}:{number}: {found.group()}"
        for path, text in texts("engine")
        for number, line in enumerate(text.splitlines(), start=1)
        if (found := SPELLING.search(line))
    ]
    assert breaches == []


def test_every_test_says_in_a_sentence_what_it_holds() -> None:
    """A name of several words, and a docstring with a full stop.  Source: tests/README.md."""
    breaches = [
        f"{path}:{node.lineno}: {node.name}"
        for path, _, tree in modules(*TESTS)
        for node in functions_of(tree, "test_")
        if node.name.count("_") < 3 or "." not in (ast.get_docstring(node) or "").replace("…", ".")
    ]
    assert breaches == []


#: Run by `make faults`, and no test.
#: Campaigns kill what takes its time; in a simulation time is virtual.
MAY_SLEEP = (
    "tests/faults/",
    "tests/scale/",
    "tests/conformance/",
    "tests/adapters/restate/",
    "tests/restate_",
    "tests/unit/test_fuzz_",
    "tests/fuzz_",
)


def test_tests_never_sleep() -> None:
    """A sleep is either too short or too long.  Source: tests/README.md.

    What kills real processes at some moment has to let some time pass.
    """
    breaches = [
        f"{path}:{node.lineno}: wait for the fact, not for a while"
        for path, _, tree in modules(*TESTS, having="sleep")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and sleeps(node) and not str(path).startswith(MAY_SLEEP)
    ]
    assert breaches == []


def sleeps(call: ast.Call) -> bool:
    """Whether it sleeps for a while; `asyncio.sleep(0)` only gives way."""
    match call:
        case ast.Call(func=ast.Attribute(attr="sleep"), args=[ast.Constant(value=0)]):
            return False
        case ast.Call(func=ast.Attribute(value=ast.Name(id="time" | "asyncio"), attr="sleep")):
            return True
        case _:
            return False


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (phase_writes, "record.phase = Phase.FAILED"),
        (phase_writes, "a, record.phase = 1, 2"),
        (phase_writes, "object.__setattr__(record, 'phase', x)"),
        (phase_sets, "x = {Phase.FAILED, Phase.CANCELLED}"),
        (phase_sets, "if phase in (Phase.FAILED, Phase.CANCELLED): ..."),
        (clock_reads, "import time"),
        (clock_reads, "datetime.now(tz=UTC)"),
        (clock_reads, "async def f(): await asyncio.sleep(1)"),
        (swallowed, "try: f()\nexcept Exception: pass"),
        (swallowed, "try: f()\nexcept: ..."),
        (long_functions, "def f():\n" + "    x = 1\n" * 70),
    ],
)
def test_each_rule_can_see_its_breach(
    rule: Callable[[Path, ast.Module], Iterator[str]], code: str
) -> None:
    """A rule that never fires is not a rule.  Source: R-PKG-06."""
    assert list(rule(Path("x.py"), ast.parse(code)))
