"""A rule that is a bare name, while the source that it was meant for is away.

Source: R-GATE-17.
"""

import pytest

from gates import Bank
from interlock import Policies, Policy, Tool, Toolbox

RULES = {"search": Policy(), "*": Policy(confirm="always")}


def search(source: str) -> Tool:
    """A tool of that name."""
    return Tool(name="search", source=source)


def confirms(box: Toolbox, tool: Tool) -> str:
    """What is decided of a call of a tool."""
    policy = box.policies.of(tool).policy
    return str(policy.confirm) if policy.enabled else "off"


@pytest.mark.parametrize("is_back", [False, True])
async def test_a_bare_rule_is_not_for_what_a_source_lists_later_that_was_there(
    is_back: bool,  # noqa: FBT001
) -> None:
    """A server that is up could take the name, and the rule, of one that is away.

    Source: R-GATE-17.
    """
    away, there = Bank(name="away"), Bank(Tool(name="other", source="there"), name="there")
    away.has = []
    box = Toolbox([away, there], policies=Policies(RULES))
    await box.open()
    if is_back:
        away.has = [search("away")]
    there.has.append(search("there"))
    assert confirms(box, search("there")) == "off"
    assert confirms(box, search("away")) == "never"
    assert confirms(box, Tool(name="other", source="there")) == "always"
    await box.close()


async def test_a_bare_rule_is_for_the_tool_that_it_names() -> None:
    """As before.  Source: R-GATE-07."""
    away, there = Bank(name="away"), Bank(search("there"), name="there")
    away.has = []
    box = Toolbox([away, there], policies=Policies(RULES))
    await box.open()
    assert confirms(box, search("there")) == "never"
    assert confirms(box, search("away")) == "off"
    await box.close()
