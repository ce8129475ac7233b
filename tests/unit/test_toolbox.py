"""A toolbox: where tools come from, what they are called, and what it takes to open it."""

from typing import Any

import pytest

from gates import PAY, Bank
from interlock import Engine, MemoryStore, Policies, Policy, Tool, Toolbox
from interlock.errors import (
    AmbiguousTool,
    EngineError,
    InvalidInput,
    SourceUnavailable,
    UnknownTool,
)
from interlock.testing import ManualClock


def look(what: str) -> str:
    """Look at something.

    It says more than that.
    """
    return what


def banks(*names: str, **settings: Any) -> tuple[Toolbox, list[str]]:  # noqa: ANN401
    """A toolbox of banks, and what they hear; one whose name is in capitals is not there."""
    heard: list[str] = []
    made = [
        Bank(
            Tool(name=f"pay_{name}", source=name),
            name=name,
            heard=heard,
            fails="it is closed" if name.isupper() else None,
        )
        for name in names
    ]
    return Toolbox(made, **settings), heard


def test_policies_of_a_toolbox_are_policies() -> None:
    """A mapping of them is close, and would fail when the engine starts.  Source: R-ENG-20."""
    rules: Any = {"look": Policy(confirm="always")}
    with pytest.raises(TypeError, match="policies is of type dict; Policies are accepted"):
        Toolbox([look], policies=rules)


async def test_sources_are_opened_in_their_order_and_closed_in_the_other() -> None:
    """And once.  Source: issue 4, build 3, R-GATE-18."""
    box, heard = banks("a", "b")
    await box.open()
    await box.close()
    await box.close()
    assert heard == ["open a", "open b", "close b", "close a"]


async def test_a_source_that_does_not_open_closes_what_was_opened() -> None:
    """The error names it.  Source: issue 4, build 3, R-GATE-18."""
    box, heard = banks("a", "B", "c")
    with pytest.raises(SourceUnavailable, match="'B' is not available: it is closed"):
        await box.open()
    assert heard == ["open a", "open B", "close B", "close a"]
    await box.close()
    assert len(heard) == 4


async def test_a_source_that_does_not_close_keeps_no_other_open() -> None:
    """All are told.  Source: issue 4, build 3."""
    heard: list[str] = []

    class Stuck(Bank):
        async def close(self) -> None:
            """Fail."""
            raise OSError("stuck")

    stuck = Stuck(name="stuck", heard=heard)
    stuck.has = []
    box = Toolbox([Bank(name="a", heard=heard), stuck])
    await box.open()
    with pytest.raises(OSError, match="stuck"):
        await box.close()
    assert heard[-1] == "close a"


async def test_an_engine_opens_and_closes_its_toolbox() -> None:
    """Also when it cannot start.  Source: API4, Engine."""
    box, heard = banks("a")
    async with Engine(_nothing, tools=box, store=MemoryStore(), clock=ManualClock()) as engine:
        assert engine.tools is box
        assert heard == ["open a"]
    assert heard == ["open a", "close a"]
    box, heard = banks("a", "B")
    engine = Engine(_nothing, tools=box, store=MemoryStore(), clock=ManualClock())
    with pytest.raises(SourceUnavailable):
        await engine.start()
    assert heard == ["open a", "open B", "close B", "close a"]


async def _nothing(_task: object) -> str:
    return "done"


async def test_two_tools_of_one_name_are_an_error_unless_they_are_called_apart() -> None:
    """A model could not tell them apart.  Source: issue 4, bad input, R-GATE-07."""
    heard: list[str] = []
    two = [Bank(heard=heard), Bank(PAY.model_copy(update={"source": "b"}), name="b", heard=heard)]
    with pytest.raises(InvalidInput, match="qualified=True"):
        await Toolbox(two).open()
    assert heard[-2:] == ["close b", "close bank"]
    box = Toolbox(two, qualified=True)
    await box.open()
    assert [box.name_of(tool) for tool in box.tools] == ["bank__pay", "b__pay"]
    await box.close()


async def test_two_tools_of_one_name_from_one_source_are_an_error_in_any_case() -> None:
    """A server that lies.  Source: issue 4, bad input."""
    for qualified in (False, True):
        with pytest.raises(InvalidInput, match=r"'pay'|'bank__pay'"):
            await Toolbox([Bank(PAY, PAY)], qualified=qualified).open()


async def test_names_that_only_look_apart_are_an_error() -> None:
    """`a__b` and `c` are `a` and `b__c`.  Source: issue 4, bad input."""
    one, other = Tool(name="c", source="a__b"), Tool(name="b__c", source="a")
    sources = [Bank(one, name="a__b"), Bank(other, name="a")]
    with pytest.raises(InvalidInput, match="a__b__c"):
        await Toolbox(sources, qualified=True).open()


@pytest.mark.parametrize("names", [("a", "a"), ("a/b",), ("",)])
def test_each_source_has_a_name_of_its_own(names: tuple[str, ...]) -> None:
    """Without a slash.  Source: API4, Tool."""
    with pytest.raises(InvalidInput):
        Toolbox([Bank(name=name) for name in names])


def test_functions_are_the_source_local() -> None:
    """So no other has that name.  Source: API4, Toolbox."""
    box = Toolbox([look])
    (tool,) = box.tools
    assert (tool.qualified, tool.description) == ("local/look", "Look at something.")
    with pytest.raises(InvalidInput):
        Toolbox([look, Bank(name="local")])


def test_a_tool_is_found_by_each_of_its_names() -> None:
    """And by none of another's.  Source: API4, Toolbox."""
    box = Toolbox([look, Bank()], qualified=True)
    for name in ("bank/pay", "bank__pay", "pay"):
        assert box.find(name) == PAY
    assert box.found("look").source.name == "local"
    with pytest.raises(UnknownTool) as caught:
        box.find("play")
    assert caught.value.known == ("bank__pay", "local__look")


def test_a_bare_name_of_several_tools_finds_none() -> None:
    """The error says how to say it.  Source: API4, Toolbox."""
    box = Toolbox([Bank(), Bank(PAY.model_copy(update={"source": "b"}), name="b")], qualified=True)
    with pytest.raises(AmbiguousTool) as caught:
        box.find("pay")
    assert caught.value.named == ("bank/pay", "b/pay")
    assert box.find("b/pay").source == "b"


def test_a_tool_that_is_off_is_not_shown_but_found() -> None:
    """The gate says that it is off.  Source: issue 4, build 2."""
    policies = Policies({"pay": Policy(enabled=False)})
    box = Toolbox([look, Bank()], policies=policies)
    assert [tool.name for tool in box.tools] == ["look"]
    assert box.find("pay") == PAY
    policies.set("pay", Policy())
    assert {tool.name for tool in box.tools} == {"pay", "look"}


def test_a_tool_that_turns_up_later_is_shown_and_found() -> None:
    """A server may change its list.  Source: issue 4, bad input."""
    bank = Bank()
    box = Toolbox([bank])
    bank.has.append(Tool(name="look", source="bank"))
    assert [tool.name for tool in box.tools] == ["pay", "look"]
    bank.has.clear()
    with pytest.raises(UnknownTool):
        box.find("pay")


async def test_rules_are_checked_when_the_tools_are_known() -> None:
    """An engine with a misspelt policy does not start.  Source: issue 4, build 2."""
    cases: list[tuple[str, type[EngineError] | None]] = [
        ("pay", None),
        ("play", UnknownTool),
        ("mine", None),
        ("local/mine", None),
    ]
    for rule, error in cases:
        box = Toolbox([Bank()], policies=Policies({rule: Policy()}), agent_tools=["mine"])
        if error is None:
            await box.open()
            await box.close()
        else:
            with pytest.raises(error):
                await box.open()


async def test_of_a_source_that_has_nothing_yet_rules_may_name_anything() -> None:
    """It was declared optional, and is away.  Source: issue 4, build 3."""
    away = Bank(name="away")
    away.has = []
    policies = Policies({"away/pay": Policy(), "look": Policy()})
    box = Toolbox([away, Bank()], policies=policies)
    await box.open()
    with pytest.raises(UnknownTool):
        policies.set("bank/play", Policy())
    await box.close()


async def test_the_faults_of_a_call_are_found_without_making_it() -> None:
    """For somebody who edits its arguments.  Source: issue 4, build 1."""
    box = Toolbox([Bank()], policies=Policies({"pay": Policy()}))
    assert await box.problems(PAY, {"amount": 5}, Policy()) == []
    assert await box.problems(PAY, {"amount": "5"}, Policy()) != []
    assert await box.problems(PAY, {"amount": 5}, Policy(enabled=False)) == ["it is not enabled"]


@pytest.mark.parametrize(("name", "qualified"), [("bank/pay", False), ("bank__pay", True)])
def test_a_name_that_says_its_source_finds_no_other_while_that_is_away(
    name: str,
    qualified: bool,  # noqa: FBT001
) -> None:
    """Else somebody could take its place.  Source: issue 4, bad input."""
    bank, evil = Bank(), Bank(Tool(name=name, source="evil"), name="evil")
    box = Toolbox([bank, evil], qualified=qualified)
    assert box.find(name) == PAY
    bank.has.clear()
    with pytest.raises(UnknownTool):
        box.find(name)
    assert box.find(f"evil/{name}").source == "evil"
