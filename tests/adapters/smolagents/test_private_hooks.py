"""What is used of smolagents beside what its documentation promises: each line of the list.

Source: the docstring of `interlock_adapters.smolagents._private`; a number here is a number there.
Each test looks at the library alone, so that an upgrade that breaks one says which.
"""

import io
import re
import threading
from collections.abc import Generator
from typing import Any, Final

import pytest
from rich.console import Console
from smolagents import (  # type: ignore[import-untyped]  # as above
    ActionStep,
    AgentLogger,
    CodeAgent,
    LocalPythonExecutor,
    PlanningStep,
    Tool,
    ToolCallingAgent,
    __version__,
)
from smolagents.models import (  # type: ignore[import-untyped]  # as above
    ChatMessageStreamDelta,
    agglomerate_stream_deltas,
)

from interlock.testing import ModelTurn, ScriptedModel
from interlock_adapters.smolagents import _private as private
from interlock_adapters.smolagents_testing import ScriptedSmolModel
from smol import answer, code

LINES: Final = 8


class Park(BaseException):
    """What passes through an agent that is to be put aside."""


class Ends(Tool):  # type: ignore[misc]  # the library has no types
    """A tool that raises what is no Exception."""

    name = "ends"
    description = "Ends."
    inputs: dict[str, Any] = {}  # noqa: RUF012  the library wants it so
    output_type = "string"

    def forward(self) -> str:
        """End."""
        raise Park


class Model(ScriptedSmolModel):
    """Keeps what it is asked with."""

    def __init__(self, *script: Any) -> None:  # noqa: ANN401  turns in any form
        super().__init__(ScriptedModel(*script))
        self.asked: list[tuple[str, Any]] = []

    def generate(self, messages: Any, stop_sequences: Any = None, **options: Any) -> Any:  # noqa: ANN401  the library's
        """See `Model`."""
        text = "".join(piece["text"] for message in messages for piece in message.content)
        self.asked.append((text, stop_sequences))
        return super().generate(messages, stop_sequences, **options)


def quiet(kind: Any, *script: Any, **settings: Any) -> Any:  # noqa: ANN401  an agent
    """An agent that prints nothing."""
    return kind(**{"tools": [], "model": Model(*script), "verbosity_level": -1, **settings})


def test_each_line_of_the_list_has_a_test() -> None:
    """By its number, so that neither grows alone.  Source: R-SMOL-11."""
    listed = re.findall(r"^(\d+)\. ", private.__doc__ or "", flags=re.MULTILINE)
    tested = {name.split("_")[1] for name in globals() if re.match(r"test_\d+_", name)}
    assert listed == [str(number) for number in range(1, LINES + 1)]
    assert tested == set(listed)
    assert __version__.startswith("1.26")


def test_1_what_is_replaced_on_an_agent_is_what_is_called() -> None:
    """`process_tool_calls` by a step, `run` by `__call__`, `execute_tool_call` by nobody else."""
    agent = quiet(ToolCallingAgent, answer("x"), name="a", description="a", max_steps=1)
    seen: list[str] = []
    process, run = agent.process_tool_calls, agent.run

    def processed(*given: Any) -> Generator[object]:  # noqa: ANN401  the library's
        seen.append("process")
        yield from process(*given)

    def ran(*given: Any, **named: Any) -> object:  # noqa: ANN401  the library's
        seen.append("run")
        return run(*given, **named)

    agent.process_tool_calls, agent.run = processed, ran
    assert "x" in agent(task="go")
    assert seen == ["run", "process"]


def test_2_the_callbacks_of_a_step_run_on_the_way_of_an_error() -> None:
    """Also of one that is no Exception: half a step looks like a step there."""
    steps: list[Any] = []
    agent = quiet(ToolCallingAgent, {"ends": {}}, tools=[Ends()], step_callbacks=[steps.append])
    with pytest.raises(Park):
        agent.run("go")
    (step,) = steps
    assert isinstance(step, ActionStep)
    assert step.error is None


def test_3_steps_are_counted_from_one_in_every_run() -> None:
    """The agent's own number is that of the step it is in, when the callbacks run too."""
    numbers: list[tuple[int, int]] = []

    def seen(step: Any, agent: Any) -> None:  # noqa: ANN401  the library's
        if isinstance(step, ActionStep):
            numbers.append((step.step_number, agent.step_number))

    agent = quiet(ToolCallingAgent, "words", answer("x"), step_callbacks=[seen])
    agent.run("go")
    agent.run("again")
    assert numbers == [(1, 1), (2, 2)] * 2


@pytest.mark.parametrize("kind", [ToolCallingAgent, CodeAgent])
def test_4_a_prompt_for_a_plan_is_known_by_its_stop_sequence(
    kind: Any,  # noqa: ANN401  a class
) -> None:
    """And a plan that a prompt shows is followed by `PLANNED`."""
    last = answer("x") if kind is ToolCallingAgent else code("final_answer('x')")
    script = [ModelTurn("plan A", plan=True), "words", ModelTurn("plan B", plan=True), last]
    agent = quiet(kind, *script, planning_interval=1, max_steps=3)
    plans: list[Any] = []
    agent.step_callbacks.register(PlanningStep, plans.append)
    agent.run("go")
    asked = agent.model.asked
    assert [private.is_plan_prompt(stop) for _, stop in asked] == [True, False, True, False]
    assert [text.count(private.PLANNED) for text, _ in asked] == [0, 1, 0, 2]
    assert asked[0][1] == [private.PLAN_STOP]
    assert ["plan A" in plans[0].plan, "plan B" in plans[1].plan] == [True, True]


def test_5_what_is_streamed_is_joined() -> None:
    """Texts, calls and tokens of many pieces are one message."""
    model = ScriptedSmolModel(ScriptedModel(ModelTurn("a b", answer("x").calls, input_tokens=7)))
    deltas: Any = list(model.generate_stream([]))
    joined: Any = agglomerate_stream_deltas(deltas)
    assert joined.content == "a b "
    assert joined.tool_calls[0].function.name == "final_answer"
    assert joined.token_usage.input_tokens == 7
    assert private.joined([ChatMessageStreamDelta(content="a")]).content == "a"


def test_6_a_silent_agent_prints_nothing() -> None:
    """Its logger and its monitor's are all that print; a display of a stream is switched off."""
    agent: Any = ToolCallingAgent([], Model(answer("x")), stream_outputs=True, verbosity_level=2)
    printed = io.StringIO()
    agent.logger = agent.monitor.logger = AgentLogger(console=Console(file=printed))
    private.silence(agent, verbose=False)
    assert agent.run("go") == "x"
    assert printed.getvalue() == ""
    assert agent.stream_outputs is False
    assert agent.monitor.logger is agent.logger
    loud: Any = ToolCallingAgent([], Model(answer("x")))
    loud.logger = loud.monitor.logger = AgentLogger(console=Console(file=printed))
    private.silence(loud, verbose=True)
    loud.run("go")
    assert printed.getvalue() != ""


def test_7_code_without_a_time_of_its_own_runs_where_it_is_called() -> None:
    """With one it runs on another thread; functions beside tools have a name of their own."""
    seen: list[int] = []

    class Here(Tool):  # type: ignore[misc]  # the library has no types
        """Says on which thread it is."""

        name = "here"
        description = "Where."
        inputs: dict[str, Any] = {}  # noqa: RUF012  the library wants it so
        output_type = "string"

        def forward(self) -> str:
            """Say it."""
            seen.append(threading.get_ident())
            return ""

    for bound in (False, True):
        executor: Any = LocalPythonExecutor([])
        assert executor.timeout_seconds is not None
        assert not executor.additional_functions
        executor.send_tools({"here": Here()})
        if not bound:
            private.unbind(executor)
        executor("here()")
    assert seen[0] == threading.get_ident()
    assert seen[1] != threading.get_ident()


@pytest.mark.parametrize(
    "handler",
    ["except Exception", "except", "except (ValueError, KeyError)", "except BaseException"],
)
def test_8_code_cannot_hold_up_what_is_no_exception(handler: str) -> None:
    """No handler of the code's, nor of the agent's; `finally` runs."""
    after: list[str] = []

    class After(Ends):
        """Says that it was reached."""

        name = "after"

        def forward(self) -> str:
            """Say it."""
            after.append("finally")
            return ""

    source = f"try:\n    ends()\n{handler}:\n    after()\n    after()\nfinally:\n    after()"
    agent = quiet(CodeAgent, code(source), tools=[Ends(), After()])
    private.unbind(agent.python_executor)
    with pytest.raises(Park):
        agent.run("go")
    assert after == ["finally"]


def test_what_is_public_is_there_too() -> None:
    """The hooks that the documentation has: a rename of one would be a silent hole."""
    agent = quiet(CodeAgent, tools=[Ends()], instructions="x")
    for name in ("tools", "managed_agents", "state", "instructions", "step_callbacks", "model"):
        assert hasattr(agent, name)
    for name in ("process_tool_calls", "execute_tool_call"):
        assert callable(getattr(ToolCallingAgent, name))
    assert "x" in agent.system_prompt
