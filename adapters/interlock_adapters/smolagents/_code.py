"""What code that a model wrote may not read: whatever lies behind the objects that it is given.

The library's interpreter refuses names with two underscores.  One is enough to reach the task
behind a tool, and a generator's frame leads to everything that runs.  This keeps a model from
walking there by mistake or by persuasion; it is no sandbox, since the code runs in this process.
"""

import ast
from typing import Any, Final, cast

from smolagents.local_python_executor import InterpreterError  # type: ignore[import-untyped]

__all__ = ["check_code", "open_getattr"]

#: Attributes without an underscore that lead to frames, code and globals.
FRAMES: Final = frozenset(
    {
        *("gi_frame", "gi_code", "gi_yieldfrom", "cr_frame", "cr_code", "cr_await", "ag_frame"),
        *("ag_code", "f_back", "f_locals", "f_globals", "f_builtins", "f_code", "tb_frame"),
        *("tb_next", "func_globals", "func_closure", "func_code"),
    }
)
#: Methods that read attributes by names within a text; the last are those of `string.Formatter`.
FORMATS: Final = frozenset({"format", "format_map", "vformat", "get_field"})


def check_code(code: str) -> None:
    """Refuse code that reads what it may not.

    Raises:
        InterpreterError: it does; a model is told.
    """
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return  # The interpreter says so in its own words.
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            _check(node.attr)


def _check(name: str) -> None:
    if name in FORMATS:
        raise InterpreterError(f"Forbidden: .{name}() is not available; use an f-string")
    if name.startswith("_") or name in FRAMES:
        raise InterpreterError(f"Forbidden access to the attribute {name!r}")


def open_getattr(value: Any, name: str, *default: Any) -> Any:  # noqa: ANN401  as the built-in
    """`getattr` for names that code may read.

    Raises:
        InterpreterError: it may not.
    """
    if type(cast("object", name)) is not str:
        # Nor a text of a class that the code has made: it could say anything of itself.
        raise InterpreterError("Forbidden: the name of an attribute is a plain text")
    _check(name)
    return getattr(value, name, *default)
