"""Asking a source of tools anew what it has, and seeing where tools come from.

R-SVC-06.
"""

from collections.abc import Callable, Sequence

import pytest

from gates import Bank
from interlock import Policies, Policy, Refreshable, Tool, Toolbox
from interlock.errors import (
    AmbiguousTool,
    InvalidInput,
    SourceUnavailable,
    UnknownSource,
    UnknownTool,
)


class Market(Bank):
    """A source that is told what it has, and says so when it is asked anew."""

    def __init__(self, name: str, *tools: str) -> None:
        super().__init__(*(Tool(name=tool, source=name) for tool in tools), name=name)
        self.next: list[str] | Exception = []

    def will_have(self, *tools: str) -> None:
        """What it says the next time."""
        self.next = list(tools)

    async def refresh(self, check: Callable[[Sequence[Tool]], None]) -> None:
        """See `Refreshable`."""
        if isinstance(self.next, Exception):
            raise self.next
        found = [Tool(name=name, source=self.name) for name in self.next]
        check(found)
        self.has = found


def names(box: Toolbox) -> list[str]:
    """What agents may call."""
    return [tool.qualified for tool in box.tools]


def look(what: str) -> str:
    """Look at something."""
    return what


async def test_what_a_source_has_by_now_counts_from_the_next_call_on() -> None:
    """What is new is there, and what is gone is not.  Source: R-SVC-06."""
    market = Market("market", "buy", "old")
    box = Toolbox([market, look])
    await box.open()
    market.will_have("buy", "sell")
    assert names(box) == ["market/buy", "market/old", "local/look"]
    state = await box.rediscover("market")
    assert names(box) == ["market/buy", "market/sell", "local/look"]
    assert [tool.name for tool in state.tools] == ["buy", "sell"]
    assert box.find("sell").source == "market"
    # Rules may name what is there now, and only that.
    box.policies.set("sell", Policy(confirm="always"))
    with pytest.raises(UnknownTool):
        box.policies.set("old", Policy(confirm="always"))
    await box.close()


@pytest.mark.parametrize(
    ("tools", "error"),
    [
        # An agent could not tell them apart.
        (["buy", "look"], InvalidInput),
        # A rule would name nothing, or two.
        (["sell"], UnknownTool),
        (["buy", "steal"], AmbiguousTool),
    ],
)
async def test_what_clashes_changes_nothing(tools: list[str], error: type[Exception]) -> None:
    """Names and rules stay as they were, all of them.  Source: R-SVC-06."""
    market, thief = Market("market", "buy"), Market("thief", "steal")
    policies = Policies({"buy": Policy(), "steal": Policy()})
    qualified = error is AmbiguousTool
    box = Toolbox([market, look, thief], policies=policies, qualified=qualified)
    await box.open()
    before = names(box)
    market.will_have(*tools)
    with pytest.raises(error):
        await box.rediscover("market")
    assert names(box) == before
    # What rules may name is as before, too.
    policies.set("buy", Policy(confirm="always"))
    with pytest.raises(UnknownTool):
        policies.set("market/look", Policy())
    await box.close()


async def test_a_source_that_is_away_keeps_its_tools() -> None:
    """It may be there for the next call.  Source: R-SVC-06."""
    market = Market("market", "buy")
    box = Toolbox([market])
    await box.open()
    market.next = SourceUnavailable("market", "it is closed")
    with pytest.raises(SourceUnavailable):
        await box.rediscover("market")
    assert names(box) == ["market/buy"]
    await box.close()


async def test_a_source_that_is_not_there_is_named() -> None:
    """With those that are.  Source: R-SVC-06."""
    box = Toolbox([Market("market", "buy"), look])
    with pytest.raises(UnknownSource, match="no source of tools 'x'; there are: local, market"):
        await box.rediscover("x")


async def test_a_source_that_always_says_what_it_has_is_checked_again() -> None:
    """What turned up meanwhile may clash.  Source: R-SVC-06."""
    bank = Bank(Tool(name="pay", source="bank"))
    box = Toolbox([bank, look])
    await box.open()
    assert not isinstance(bank, Refreshable)
    assert not (await box.rediscover("bank")).refreshable
    bank.has.append(Tool(name="look", source="bank"))
    with pytest.raises(InvalidInput, match="several tools are called 'look'"):
        await box.rediscover("bank")
    await box.close()


async def test_what_there_is_is_shown_also_what_is_switched_off() -> None:
    """Each with whether it is there, and can be asked anew.  Source: R-SVC-06."""

    class Away(Market):
        """Says that it cannot be reached."""

        available = False

    away = Away("away")
    away.has = []
    policies = Policies({"buy": Policy(enabled=False)})
    box = Toolbox([Market("market", "buy", "sell"), away, look], policies=policies)
    await box.open()
    shown = {
        name: (state.available, state.refreshable, [tool.name for tool in state.tools])
        for name, state in box.sources.items()
    }
    assert shown == {
        "market": (True, True, ["buy", "sell"]),
        "away": (False, True, []),
        "local": (True, False, ["look"]),
    }
    assert names(box) == ["market/sell", "local/look"]
    await box.close()
