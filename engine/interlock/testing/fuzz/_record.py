"""The log of a real task as a pytest test that lives it again."""

import pprint
import re
from collections.abc import Sequence
from typing import Final

from interlock._event import Event

_WIDTH: Final = 96
_NO_NAME: Final = re.compile(r"[^a-z0-9]+")


def recorded_test(log: Sequence[Event], task_id: str, where: str) -> str:
    """The source of the test; `where` is the engine or agent, as `module:name`."""
    module, _, name = where.partition(":")
    entries = pprint.pformat(
        [event.to_json() for event in log], width=_WIDTH, sort_dicts=False, underscore_numbers=False
    )
    return "\n".join(
        [
            f'"""Task {_plain(task_id)}, recorded by `interlock record`.',
            "",
            "CAREFUL: this file holds what the task was asked, what people answered, and the",
            "arguments and results of everything that the agent called.  Look through it for",
            "secrets before you keep it.",
            "",
            f"It imports {_plain(module)}: where that is not found, run `python -m pytest`, or say",
            'pythonpath = ["."] in the settings of pytest.',
            '"""',
            "",
            f"import {module}",
            "from interlock.testing.fuzz import check_recorded",
            "",
            "# ruff: noqa",
            f"LOG = {entries}",
            "",
            "",
            f"def {name_of_test(task_id)}() -> None:",
            '    """The same requests, answers and calls lead to the same moves and outcome."""',
            f"    check_recorded({module}.{name}, LOG)",
            "",
        ]
    )


def name_of_test(task_id: str) -> str:
    """The name of the test, and of a file for it."""
    return f"test_task_{_NO_NAME.sub('_', task_id.lower()).strip('_') or 'recorded'}"


def _plain(text: str) -> str:
    """For a docstring: nothing of it ends that."""
    return "".join(s if s.isprintable() and s not in '"\\' else "?" for s in text)
