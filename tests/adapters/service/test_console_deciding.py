"""What forms of the console do with asks and tasks.  R-SVC-78; T5, T6, T7."""

import json
import re
from typing import Final

import httpx
import pytest
from starlette.applications import Starlette

from console import HOST, Looked, Shown, Visitor, asking, do, form_of, shown, tokens, words_of
from interlock import Limits, Phase, TaskContext, TaskHandle, Trigger
from interlock_adapters.console import Sessions, console_routes
from support import opened, soon

OK: Final = httpx.codes.OK
SEE: Final = httpx.codes.SEE_OTHER
FORBIDDEN: Final = httpx.codes.FORBIDDEN
GONE: Final = httpx.codes.NOT_FOUND
WRONG: Final = httpx.codes.UNPROCESSABLE_ENTITY


def said_of(here: Shown, handle: TaskHandle, trigger: Trigger) -> dict[str, object]:
    """What the last event of that trigger holds, and who fired it."""
    event = next(e for e in reversed(here.world.log(handle)) if e.trigger is trigger)
    return {**event.data, "actor": event.actor}


async def test_an_approval_as_asked_runs_what_was_asked() -> None:
    """In the approver's name, and it is said once.  Source: R-SVC-78."""
    async with shown() as here:
        visitor = await here.visitor("eve")
        handle, fields = await asking(here, visitor)
        answer = await do(visitor, handle, fields, do="approve", reason=" fine ", back="inbox")
        assert (answer.status_code, answer.headers["location"]) == (SEE, "/console/inbox")
        assert str(await handle.result()).startswith("Grand Hôtel, 3 nights")
        said = said_of(here, handle, Trigger.APPROVE)
        assert (said["actor"], said["edited"], said["reason"]) == ("eve", False, "fine")
        assert "Approved as asked." in (await visitor.get("/inbox")).text
        assert "Approved as asked." not in (await visitor.get("/inbox")).text


async def test_other_arguments_run_once_their_difference_was_seen() -> None:
    """What runs is what was shown.  Source: R-SVC-78, T6."""
    async with shown() as here:
        visitor = await here.visitor("eve")
        handle, fields = await asking(here, visitor)
        edited = fields | {"v:nights": "5", "v:board": '"full"'}
        # Both buttons say what they would do, and neither does it unseen.
        for button, says in (
            ("approve", "You changed arguments"),
            ("approve_edited", "Look at what"),
        ):
            answer = await do(visitor, handle, edited, do=button)
            assert answer.status_code == WRONG
            assert says in words_of(answer.text)
            assert re.search(r'class="new">\+ .*&#34;nights&#34;: 5', answer.text)
        assert here.world.stored(handle).phase is Phase.WAITING_AUTH
        again = form_of(answer.text, "/ask")
        assert again["v:nights"] == "5"
        # What was seen is what runs: anything else is shown once more.
        moved = await do(visitor, handle, again, do="approve_edited", **{"v:nights": "50"})
        assert moved.status_code == WRONG
        assert (await do(visitor, handle, again, do="approve_edited")).status_code == SEE
        assert str(await handle.result()) == "Grand Hôtel, 5 nights from 2027-03-01 for 2, full"
        said = said_of(here, handle, Trigger.APPROVE)
        assert (said["actor"], said["edited"]) == ("eve", True)


async def test_the_difference_is_worked_out_by_the_server() -> None:
    """By what will judge it; nothing is decided.  Source: R-SVC-78."""
    async with shown() as here:
        visitor = await here.visitor("eve")
        handle, fields = await asking(here, visitor)
        same = await do(visitor, handle, fields, do="preview")
        assert "Nothing is changed." in same.text
        bad = await do(visitor, handle, fields, do="preview", **{"v:guests": "[", "v:nights": "x"})
        assert "guests: this is no JSON" in bad.text
        assert "nights: a whole number" in bad.text
        assert 'name="seen"' not in bad.text
        raw = await do(
            visitor, handle, fields, do="preview", mode="raw", raw=json.dumps({"hotel": "Inn"})
        )
        assert raw.text.count('class="gone"') == 10
        assert here.world.stored(handle).phase is Phase.WAITING_AUTH


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"v:nights": "many"}, "a whole number is accepted"),
        ({"mode": "raw", "raw": "{"}, "this is no JSON"),
        ({"mode": "raw", "raw": "[1]"}, "arguments are a JSON object"),
        ({"mode": "raw", "raw": '{"hotel": 1e999}'}, "1e999 is more than any number"),
    ],
)
async def test_arguments_that_are_none_leave_the_ask_open(
    changes: dict[str, str], says: str
) -> None:
    """What is wrong is said, and what was typed kept.  Source: R-SVC-78."""
    async with shown() as here:
        visitor = await here.visitor("eve")
        handle, fields = await asking(here, visitor)
        answer = await do(visitor, handle, fields, do="approve_edited", **changes)
        assert answer.status_code == WRONG
        assert says in words_of(answer.text)
        assert 'aria-invalid="true"' in answer.text or 'role="alert"' in answer.text
        assert here.world.stored(handle).phase is Phase.WAITING_AUTH


async def test_arguments_that_do_not_fit_the_tool_are_refused_by_the_engine() -> None:
    """Its words are shown on the form.  Source: R-SVC-78."""
    async with shown() as here:
        visitor = await here.visitor("eve")
        handle, fields = await asking(here, visitor)
        wrong = fields | {"mode": "raw", "raw": json.dumps({"hotel": 7})}
        seen = form_of((await do(visitor, handle, wrong, do="approve_edited")).text, "/ask")
        answer = await do(visitor, handle, seen, do="approve_edited")
        assert answer.status_code == WRONG
        assert "nights" in words_of(answer.text)
        assert here.world.stored(handle).phase is Phase.WAITING_AUTH


async def test_an_approval_names_what_was_shown() -> None:
    """T6, T7: another digest, or an ask that is not asked any more, does nothing."""
    async with shown() as here:
        visitor = await here.visitor("eve")
        handle, fields = await asking(here, visitor)
        assert (await do(visitor, handle, fields, do="approve", digest="0" * 32)).status_code == (
            httpx.codes.CONFLICT
        )
        other, others = await asking(here, visitor)
        crossed = await do(visitor, handle, others, do="approve")
        assert crossed.status_code in {SEE, httpx.codes.CONFLICT}
        await do(visitor, other, others, do="deny", reason="no")
        await soon(other.over())
        late = await do(visitor, other, others, do="approve")
        assert late.status_code == GONE
        assert [e.trigger for e in here.world.log(other)].count(Trigger.APPROVE) == 0


async def test_a_form_that_is_sent_twice_counts_once() -> None:
    """A double click is no error.  Source: R-SVC-78, T7."""
    async with shown() as here:
        visitor = await here.visitor("root")
        handle, fields = await asking(here, visitor, "form")
        sent = [await do(visitor, handle, fields, do="answer", **{"v:city": "Oslo"}) for _ in "12"]
        assert [answer.status_code for answer in sent] == [SEE, SEE]
        await soon(handle.over())
        triggers = [event.trigger for event in here.world.log(handle)]
        assert triggers.count(Trigger.PROVIDE_INPUT) == 1


async def test_a_denial_has_its_reason_and_is_told() -> None:
    """The owner reads why.  Source: R-SVC-78."""
    async with shown() as here:
        visitor = await here.visitor("eve")
        handle, fields = await asking(here, visitor, "pay")
        assert (await do(visitor, handle, fields, do="deny", reason="too dear")).status_code == SEE
        record = await soon(handle.over())
        assert record.shown is Phase.CANCELLED
        assert said_of(here, handle, Trigger.DENY)["reason"] == "too dear"
        owner = await here.visitor("ada")
        assert "too dear" in (await owner.get(f"/tasks/{handle.task_id}")).text
        # Eve may not look at it any more, and is not sent where she would be told so.
        assert (await visitor.get(f"/tasks/{handle.task_id}")).status_code == GONE


async def test_a_question_is_answered_by_its_form_or_as_json() -> None:
    """A value that does not fit is said where it was given.  Source: R-SVC-78."""
    async with shown() as here:
        visitor = await here.visitor("ada")
        handle, fields = await asking(here, visitor, "form")
        wrong = await do(
            visitor, handle, fields, do="answer", **{"v:city": "Oslo", "v:days": "0", "g:days": "1"}
        )
        assert wrong.status_code == WRONG
        assert "/days" in words_of(wrong.text)
        again = form_of(wrong.text, "/ask")
        assert (again["v:city"], again["v:days"]) == ("Oslo", "0")
        assert (await do(visitor, handle, again, do="answer", **{"v:days": "2"})).status_code == SEE
        assert await handle.result() == "{'city': 'Oslo', 'days': 2}"
        other, fields = await asking(here, visitor, "form")
        raw = {"mode": "raw", "raw": '{"city": "Rome"}'}
        assert (await do(visitor, other, fields, do="answer", **raw)).status_code == SEE
        assert await other.result() == "{'city': 'Rome'}"


async def test_a_question_is_declined_with_a_reason() -> None:
    """That ends the task, unless it has a default.  Source: R-SVC-78."""
    async with shown() as here:
        visitor = await here.visitor("ada")
        handle, fields = await asking(here, visitor, "ask")
        assert (
            await do(visitor, handle, fields, do="decline", reason="none of them")
        ).status_code == SEE
        assert (await soon(handle.over())).shown is Phase.CANCELLED
        assert said_of(here, handle, Trigger.DECLINE)["reason"] == "none of them"


async def test_enter_in_a_field_decides_nothing() -> None:
    """The first button of a form is the one that Enter presses: it is none that does anything."""
    async with shown() as here:
        visitor = await here.visitor("root")
        for text in ("room", "pay", "form", "ask"):
            handle, _ = await asking(here, visitor, text)
            html = (await visitor.get(f"/tasks/{handle.task_id}")).text
            form = html[html.index('class="decide"') :]
            assert re.findall(r"<button[^>]*>", form)[0] == "<button disabled hidden>"


async def test_a_task_is_cancelled_by_its_owner_or_an_operator() -> None:
    """In their own name; a second time it is over.  Source: R-SVC-78."""
    async with shown() as here:
        for name in ("ada", "olga"):
            visitor = await here.visitor(name)
            handle = await here.world.submit("ask")
            await handle.rest()
            page = await visitor.get(f"/tasks/{handle.task_id}")
            fields = form_of(page.text, "/cancel") | {"reason": "enough"}
            assert (
                await visitor.post(f"/tasks/{handle.task_id}/cancel", fields)
            ).status_code == SEE
            assert (await soon(handle.over())).shown is Phase.CANCELLED
            assert said_of(here, handle, Trigger.CANCEL)["actor"] == name
            late = await visitor.post(f"/tasks/{handle.task_id}/cancel", fields)
            assert late.status_code == httpx.codes.CONFLICT


async def test_an_operator_lets_a_task_go_on_that_went_astray() -> None:
    """Who is none sees that it waits, and has no button for it.  Source: R-SVC-78."""
    city = "Rome"

    def search(name: str) -> str:
        return name

    async def agent(task: TaskContext) -> str:
        await task.call(search, city)
        return await task.ask("go on?")

    async with opened(agent, limits=Limits(park_after_s=0)) as world:
        handle, ask = await world.asking()
        city = "Oslo"
        await handle.answer(ask.key, "yes")
        await soon(handle.rest())
        routes = console_routes(Looked(world.engine), sessions=Sessions(tokens()), url=HOST)
        app = Starlette(routes=routes)
        owner, operator = Visitor(app), Visitor(app)
        await owner.sign_in("ada")
        await operator.sign_in("olga")
        path = f"/tasks/{handle.task_id}"
        assert "somebody else decides it" in words_of((await owner.get(path)).text)
        inbox = (await operator.get("/inbox")).text
        fields = form_of(inbox, "/resume")
        wrong = await operator.post(f"{path}/resume", fields | {"do": "perhaps"})
        assert wrong.status_code == WRONG
        assert "again, from_scratch, skip is accepted" in words_of(wrong.text)
        city = "Rome"
        assert (await operator.post(f"{path}/resume", fields | {"do": "again"})).status_code == SEE
        assert await soon(handle.result()) == "yes"
        late = await operator.post(f"{path}/resume", fields | {"do": "again"})
        assert late.status_code == WRONG


async def test_a_call_is_decided_where_all_of_it_is() -> None:
    """Whatever an agent puts in front of what matters.  Source: T6; a stranger's review."""
    memo = "x" * 30_000

    async def padded(task: TaskContext) -> str:
        return str((await task.authorize("pay", {"a_memo": memo, "to": "mallory"}))["to"])

    async with opened(padded) as world:
        routes = console_routes(Looked(world.engine), sessions=Sessions(tokens()), url=HOST)
        visitor = Visitor(Starlette(routes=routes))
        await visitor.sign_in("ada")
        handle, _ = await world.asking()
        listed = (await visitor.get("/inbox")).text
        assert "mallory" not in listed
        assert 'value="approve"' not in listed
        assert "See all of them and decide" in listed
        alone = (await visitor.get(f"/tasks/{handle.task_id}")).text
        fields = form_of(alone, "/ask")
        assert alone.index("mallory") < alone.index('class="decide"')
        assert (await do(visitor, handle, fields, do="approve")).status_code == SEE
        assert await handle.result() == "mallory"


async def test_there_is_a_difference_only_where_something_may_be_edited() -> None:
    """To work one out is work.  Source: R-SVC-78; a stranger's review."""
    async with shown() as here:
        for name, text in (("eve", "pay"), ("ada", "form"), ("otto", "room")):
            visitor = await here.visitor(name)
            handle = await here.world.submit(text)
            (ask,) = (await handle.rest()).asks
            page = await visitor.get(f"/tasks/{handle.task_id}")
            found = re.search(r'name="csrf" value="([^"]+)"', page.text)
            assert found is not None
            fields = {"csrf": found[1], "ask": ask.key, "mode": "raw", "raw": "{}"}
            answer = await do(visitor, handle, fields, do="preview")
            assert answer.status_code == WRONG
            assert "nothing here to edit" in words_of(answer.text)
