"""The demo as its audience sees it: over real HTTP, with a script or with somebody typing."""

import asyncio
import getpass
import io
import os
import pty
import re
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from interlock import AskKind, JsonObject, JsonValue, Phase
from interlock_adapters.demo.client import Chunk, Question, Said, agent_at
from interlock_adapters.demo.keyboard import Keyboard
from interlock_adapters.demo.killed import Killable
from interlock_adapters.demo.person import OutOfScript, Scripted, value_of
from interlock_adapters.demo.player import FUNCTION, player_of
from interlock_adapters.demo.served import NotServed
from interlock_adapters.demo.story import Demo, DemoFailed, play
from interlock_adapters.demo.teller import (
    Teller,
    content_of,
    described,
    fields_of,
    in_order,
    shown,
)
from interlock_adapters.demo.travel import Ledger, Trip, flights_to, itinerary, ledger_of

ARROW: Final = re.compile(r"#(\d+)  (\S+) ─(\w*)→ (\w+)")

TO_THE_FORM: Final = [
    "● submit submitted",
    "submitted start running",
    "running ask waiting_input",
]
TO_THE_BOOKING: Final = [
    *TO_THE_FORM,
    "waiting_input provide_input running",
    "running ask waiting_auth",
]
APPROVED: Final = [
    *TO_THE_BOOKING,
    "waiting_auth approve running",
    "running complete completed",
]
STOPPED: Final = "cancelling stopped cancelled"


def moves_in(text: str) -> list[str]:
    """The moves that were printed, one after the other."""
    return [f"{found[2]} {found[3]} {found[4]}" for found in ARROW.finditer(text)]


def left_in(folder: Path) -> list[Path]:
    """The files that are there."""
    return list(folder.iterdir())


class Audience(io.StringIO):
    """A stream that does something when a text appears on it, each time the next thing."""

    def __init__(self, *cues: tuple[str, Callable[[], object]]) -> None:
        super().__init__()
        self._cues = list(cues)

    def write(self, text: str) -> int:
        """See `io.StringIO`."""
        if self._cues and self._cues[0][0] in text:
            self._cues.pop(0)[1]()
        return super().write(text)


class Typist:
    """Somebody at a terminal."""

    def __init__(self) -> None:
        self._master, self.terminal = pty.openpty()

    def types(self, line: str) -> Callable[[], object]:
        """To be called at a prompt."""
        return lambda: os.write(self._master, f"{line}\n".encode())

    def ends(self) -> None:
        """End the input: Ctrl-D."""
        os.write(self._master, b"\x04")

    def leaves(self) -> None:
        """Close the terminal."""
        os.close(self._master)
        os.close(self.terminal)


@pytest.fixture
def typist() -> Iterator[Typist]:
    """Somebody at a terminal, who leaves in the end."""
    typist = Typist()
    yield typist
    typist.leaves()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go in this test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


async def typed(
    typist: Typist, *cues: tuple[str, Callable[[], object]], agent: str = FUNCTION.name
) -> str:
    """What the demo printed to somebody who reacted so."""
    audience = Audience(*cues)
    player = player_of(agent)
    await play(Demo(auto=False, pace_s=0, player=player), audience, typist.terminal)
    return audience.getvalue()


def check_acts(told: str) -> None:
    """The three acts are told, whoever plays the agent."""
    search = [*TO_THE_FORM[:2], "running cancel cancelling", STOPPED]
    # The third trip goes through the same moves, although its server dies on the way.
    assert moves_in(told) == [*APPROVED, *search, *APPROVED]
    assert "kill -9 " in told
    assert "3 calls made outside, 0 calls repeated" in told
    assert "refused  message.parts: at /nights" in told
    assert "days 2 to 3: Lisbon, on foot" in told
    assert "Have a good trip!" in told
    assert max(map(len, told.splitlines())) < 80


# --- by itself ------------------------------------------------------------------------------


async def test_the_demo_goes_through_ask_approval_completion_and_cancel(folder: Path) -> None:
    """Source: issue 2, item 7, R-CLI-05."""
    stream = io.StringIO()
    await play(Demo(auto=True, pace_s=0), stream)
    told = stream.getvalue()
    check_acts(told)
    assert "flights, the last piece" in told
    assert "┃ completed ┃" in told
    assert "┃ cancelled ┃" in told
    assert "│ timed_out │" in told
    assert "\x1b" not in told  # nobody's terminal
    # Nothing is left behind.
    assert left_in(folder) == []
    assert [thread for thread in threading.enumerate() if thread.name == "demo"] == []


async def test_an_agent_of_smolagents_goes_through_the_same_with_tools_over_mcp(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The moves are those of the machine, whoever plays.  Source: issue 4, build 7."""
    stream = io.StringIO()
    await play(Demo(auto=True, pace_s=0, player=player_of("smolagents")), stream)
    told = stream.getvalue()
    check_acts(told)
    # What the model wants, what the server of MCP says, and what the traveller is asked.
    assert "search_flights  below_eur 314 · city Lisbon · nights 3" in told
    assert "Looking for a better one  50%" in told
    assert "leaves 10:45 · nights 3 · number IL 729 ·\n              price_eur 239\n" in told
    assert "airline/book_flight" in told
    # Neither the library nor any of the processes has anything to say, and nothing is left.
    assert capfd.readouterr() == ("", "")
    assert left_in(folder) == []


async def test_a_demo_with_a_file_keeps_its_tasks_there(folder: Path) -> None:
    """For looking at them afterwards.  Source: ours."""
    path = folder / "kept.db"
    stream = io.StringIO()
    await play(Demo(auto=True, pace_s=0, path=path), stream)
    assert path.is_file()
    assert str(path) in stream.getvalue()


async def test_a_demo_that_cannot_keep_its_tasks_says_why(folder: Path) -> None:
    """Not a traceback, and not a client that waits for ever.  Source: ours."""
    with pytest.raises(NotServed, match="the engine did not start: "):
        await play(Demo(auto=True, pace_s=0, path=folder), io.StringIO())


# --- with somebody typing -------------------------------------------------------------------


async def test_whoever_types_is_asked_again_until_the_answer_fits(typist: Typist) -> None:
    """A bad answer does not use up the question.  Source: issue 2, item 4."""
    told = await typed(
        typist,
        ("city: ", typist.types("Porto")),
        ("nights: ", typist.types("many")),
        ("city: ", typist.types("Porto")),
        ("nights: ", typist.types("2")),
        ("[a]pprove", typist.types("perhaps")),
        ("[a]pprove", typist.types("a")),
    )
    assert moves_in(told) == APPROVED
    assert "at /nights" in told
    assert "'perhaps' is none of these" in told
    assert "to Porto" in told


async def test_an_edited_price_is_what_is_booked(typist: Typist) -> None:
    """What was approved is what runs; an edit beyond the bounds is refused.  Source: DESIGN 7."""
    told = await typed(
        typist,
        ("city: ", typist.types("Porto")),
        ("nights: ", typist.types("1")),
        ("[a]pprove", typist.types("e")),
        ("flight [", typist.types("")),
        ("city [", typist.types("")),
        ("price_eur [", typist.types("900")),
        ("[a]pprove", typist.types("e")),
        ("flight [", typist.types("")),
        ("city [", typist.types("")),
        ("price_eur [", typist.types("99")),
    )
    assert moves_in(told) == APPROVED
    assert "at /price_eur" in told
    assert "for 99 EUR" in told


async def test_an_agent_of_smolagents_books_what_was_typed(typist: Typist) -> None:
    """The arguments that ran are those of the person, not the model's.  Source: issue 4, build 1.

    Of what was edited beyond the bounds of the tool nothing came.
    """
    told = await typed(
        typist,
        ("city: ", typist.types("Porto")),
        ("nights: ", typist.types("1")),
        ("[a]pprove", typist.types("e")),
        ("flight [", typist.types("")),
        ("city [", typist.types("")),
        ("price_eur [", typist.types("900")),
        ("[a]pprove", typist.types("e")),
        ("flight [", typist.types("")),
        ("city [", typist.types("")),
        ("price_eur [", typist.types("99")),
        agent="smolagents",
    )
    assert moves_in(told) == APPROVED
    assert "at /price_eur" in told
    assert "for 99 EUR, 1 nights" in told


async def test_a_denied_booking_stops_the_task(typist: Typist) -> None:
    """Source: DESIGN 2, row deny."""
    told = await typed(
        typist,
        ("city: ", typist.types("Porto")),
        ("nights: ", typist.types("1")),
        ("[a]pprove", typist.types("d")),
        ("why? ", typist.types("too early")),
    )
    assert moves_in(told) == [*TO_THE_BOOKING, "waiting_auth deny cancelling", STOPPED]
    assert "too early" in told


@pytest.mark.parametrize("how", ["a key", "the end of the input", "an interrupt"])
async def test_whoever_leaves_at_a_prompt_cancels_the_task(how: str, typist: Typist) -> None:
    """By c, by Ctrl-D or by Ctrl-C; the machine shows how it stopped.  Source: ours."""
    leave = {
        "a key": typist.types("c"),
        "the end of the input": typist.ends,
        "an interrupt": lambda: signal.raise_signal(signal.SIGINT),
    }[how]
    before = signal.getsignal(signal.SIGINT)
    told = await typed(typist, ("city: ", leave))
    assert moves_in(told) == [*TO_THE_FORM, "waiting_input cancel cancelling", STOPPED]
    assert "your trip" in told
    assert signal.getsignal(signal.SIGINT) is before


async def test_an_interrupt_while_the_agent_works_cancels_the_task(typist: Typist) -> None:
    """Also where nobody is asked anything.  Source: ours."""

    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)

    audience = Audience(("Unfolding the map", interrupt))
    # Slow enough that the agent is still at work; the cancel does not wait for it.
    await play(Demo(auto=False, pace_s=60), audience, typist.terminal)
    told = audience.getvalue()
    assert moves_in(told) == [*TO_THE_FORM[:2], "running cancel cancelling", STOPPED]


async def test_whoever_interrupts_twice_leaves_at_once(typist: Typist) -> None:
    """The first cancels the task, the second does not wait for that.  Source: ours."""

    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(asyncio.CancelledError):
        await typed(typist, ("city: ", interrupt), ("cancelling", interrupt))
    assert [thread for thread in threading.enumerate() if thread.name == "demo"] == []


async def test_a_demo_that_was_killed_goes_on_when_it_is_started_again(
    typist: Typist, folder: Path
) -> None:
    """Where it was, with whoever sits at the terminal.

    Source: the famous minute of issue 3, R-CLI-06.
    """
    path = folder / "kept.db"
    with Killable(path, 0) as server:
        server.start()
        async with agent_at(server.url) as agent:
            async for sight in agent.task("Plan me a trip, please.").sights():
                if isinstance(sight, Question):
                    break
            server.kill()
    audience = Audience(
        ("city: ", typist.types("Porto")),
        ("nights: ", typist.types("2")),
        ("[a]pprove", typist.types("a")),
    )
    await play(Demo(auto=False, pace_s=0, path=path), audience, typist.terminal)
    told = audience.getvalue()
    assert "The trip that was left" in told
    assert "to Porto" in told
    assert "3 calls made outside, 0 calls repeated" in told


async def test_a_folder_that_somebody_else_put_there_is_not_used(
    typist: Typist, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept there could be written through to anywhere.  Source: R-CLI-06."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (folder / f"interlock-demo-function-of-{getpass.getuser()}").symlink_to(elsewhere)
    with pytest.raises(DemoFailed, match="is somebody else's; --db PATH"):
        await play(Demo(auto=False, pace_s=0), io.StringIO(), typist.terminal)
    assert list(elsewhere.iterdir()) == []


async def test_a_server_that_is_told_to_end_parks_its_work_and_exits_with_0(folder: Path) -> None:
    """What is being done is finished first, and nothing is done twice.  Source: issue 3, drain."""
    path = folder / "kept.db"
    with Killable(path, 0.5) as server:
        server.start()
        async with agent_at(server.url) as agent:
            task = agent.task("Plan me a trip, please.")
            person = Scripted(Teller(io.StringIO()), [{"city": "Porto", "nights": 2}])
            # The stream ends whole, and the client takes it up where it was by itself.
            async for sight in task.sights():
                if isinstance(sight, Question):
                    reply = await person.reply(sight)
                    assert reply is not None
                    await task.say(reply)
                if isinstance(sight, Said) and "Looking for flights" in sight.text:
                    assert await asyncio.to_thread(server.end) == 0
                    server.start()
        assert task.phase is Phase.COMPLETED
        assert Ledger(ledger_of(path)).counts() == (3, 0)


# --- its parts ------------------------------------------------------------------------------


async def test_a_line_that_nobody_waited_for_goes_to_the_next_who_does(typist: Typist) -> None:
    """A prompt that was given up loses nothing that is typed.  Source: ours."""
    keyboard = Keyboard(typist.terminal)
    typist.types("Lisbon")()
    typist.types("3")()
    assert await keyboard.line() == "Lisbon"
    assert await keyboard.line() == "3"
    typist.ends()
    assert await keyboard.line() is None


async def test_a_script_that_knows_no_answer_says_so() -> None:
    """Instead of asking itself for ever.  Source: ours."""
    person = Scripted(Teller(io.StringIO()), [])
    with pytest.raises(OutOfScript, match="How many"):
        await person.reply(Question("ask-1", AskKind.INPUT, "How many?", {}))


def test_a_script_stops_only_where_it_is_told_to() -> None:
    """Source: ours."""
    teller = Teller(io.StringIO())
    assert Scripted(teller, [], stop_at="hold").has_enough(Said("On hold"))
    assert not Scripted(teller, [], stop_at="hold").has_enough(Said("Booking"))
    assert not Scripted(teller, []).has_enough(Said("On hold"))
    shows = Chunk("step-2/text", "step 2: text", ("On hold",), append=False, last=True)
    assert Scripted(teller, [], stop_at="step 2").has_enough(shows)
    assert not Scripted(teller, [], stop_at="step 3").has_enough(shows)
    assert not Scripted(teller, [], stop_at="How").has_enough(
        Question("ask-1", AskKind.INPUT, "How many?", {})
    )


@pytest.mark.parametrize(
    ("line", "kind", "value"),
    [
        ("3", "integer", 3),
        ("3.5", "number", 3.5),
        ("3", "string", "3"),
        ("three", "integer", "three"),
        ("3", None, "3"),
    ],
)
def test_a_line_is_read_as_its_field_wants_it(line: str, kind: str | None, value: object) -> None:
    """What cannot be read so goes as it is: the server says what is wrong.  Source: ours."""
    assert value_of(line, {} if kind is None else {"type": kind}) == value


def test_fields_are_shown_in_the_order_in_which_the_form_requires_them() -> None:
    """Protobuf's objects have no order, its lists have.  Source: ours."""
    form: JsonObject = {
        "properties": {"b": {}, "a": {}, "c": {}, "d": True},
        "required": ["c", "b"],
    }
    assert list(fields_of(form)) == ["c", "b", "a"]
    assert list(in_order({"z": 1, "c": 2}, form)) == ["c", "z"]
    assert fields_of({"type": "string"}) == {}
    assert list(fields_of(Trip.model_json_schema())) == ["city", "nights"]


def test_a_field_is_described_in_words() -> None:
    """Source: ours."""
    described_trip = [described(field) for field in fields_of(Trip.model_json_schema()).values()]
    assert described_trip == [
        "where to: text, 2 to 40 characters",
        "for how long: a whole number, 1 to 14",
    ]
    assert described({}) == "a value"


def test_json_is_shown_as_people_read_it() -> None:
    """Names in one order, whatever protobuf makes of it.  Source: ours."""
    assert shown({"b": [1, "two"], "a": None}) == "a None · b 1, two"


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("On hold", "On hold"),
        ('{\n  "b": 1,\n  "a": "x"\n}', "a x · b 1"),
        ("{nobody closes this", "{nobody closes this"),
        ({"tool": "book", "arguments": {"b": 1, "a": "x"}}, "book  a x · b 1"),
        ({"tool": "look", "arguments": {}}, "look"),
        ({"tool": "look", "arguments": {}, "why": "so"}, "arguments  · tool look · why so"),
        ({"price_eur": 5}, "price_eur 5"),
    ],
)
def test_an_artifact_is_shown_as_people_read_it(content: JsonValue, lines: str) -> None:
    """Also JSON that came as a text, as tools of MCP send it, and a call.  Source: ours."""
    assert content_of(content) == lines


def test_a_line_that_is_too_long_is_cut_between_things() -> None:
    """Not between a name and its value; a text is cut between words.  Source: ours."""
    stream = io.StringIO()
    values: JsonObject = {f"name_{number}": "a value" for number in range(5)}
    text = "word " * 20
    Teller(stream).show(Chunk("a", "found", (values, text), append=False, last=True))
    assert stream.getvalue().splitlines() == [
        "     shows  found:",
        "              name_0 a value · name_1 a value · name_2 a value ·",
        "              name_3 a value · name_4 a value",
        f"              {('word ' * 13).strip()}",
        f"              {('word ' * 7).strip()}",
    ]


def test_the_agent_finds_the_same_flights_to_the_same_city() -> None:
    """A demo that tells another story each time cannot be tested.  Source: ours."""
    assert flights_to("Lisbon") == flights_to(" lisbon ")
    first, second = flights_to("Lisbon")
    assert first.price_eur > second.price_eur > 0
    days = [itinerary(Trip(city="Oslo", nights=n), second).splitlines() for n in (1, 2, 9)]
    assert [len(lines) for lines in days] == [2, 3, 3]
    assert days[1][1] == "day 2: Oslo, on foot"
