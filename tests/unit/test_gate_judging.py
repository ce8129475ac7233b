"""A condition on arguments that nobody can check is not one that does not hold.

Source: a stranger's reading of the gate.
"""

from typing import Final

import pytest

from gates import Bank, calling
from interlock import Policies, Policy, Tool, Toolbox, ToolCall
from interlock.policy import When
from support import opened, soon

SHELL: Final = Tool(
    name="shell",
    source="bank",
    input_schema={"type": "object", "properties": {"command": {"type": "string"}}},
)
SUDO: Final = When(when={"properties": {"command": {"pattern": "sudo"}}})


@pytest.mark.parametrize("command", ["sudo rm " + "x" * 10_000, "ls " + "x" * 10_000])
async def test_a_condition_that_nobody_can_check_keeps_the_call_back(
    command: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A text beyond what patterns are run on was taken for one that needs no yes.

    Source: R-GATE-02.
    """
    bank = Bank(SHELL)
    box = Toolbox([bank], policies=Policies({"shell": Policy(confirm=SUDO)}))
    async with opened(calling(ToolCall("shell", {"command": command})), tools=box) as world:
        said = await soon((await world.submit()).result())
    why = "its policy could not be asked (Unchecked)"
    assert said == [f"ToolRefused: shell was not called: {why}"]
    assert bank.ran == []
    assert caplog.records == []  # A model must not fill the log with tracebacks.


@pytest.mark.parametrize(("command", "asks"), [("ls", False), ("sudo ls", True)])
def test_a_condition_that_can_be_checked_holds_or_does_not(command: str, asks: bool) -> None:  # noqa: FBT001
    """As before.  Source: R-GATE-02."""
    assert Policy(confirm=SUDO).wants_confirmation({"command": command}) is asks
