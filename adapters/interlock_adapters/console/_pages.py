"""The pages of the console, and their parts that are sent anew when something changes."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from markupsafe import Markup
from starlette.responses import Response

from interlock import Event, Phase, TaskView, Trigger
from interlock.diagram import GraphvizMissing, Look, path_of, picture_of, population, svg
from interlock.diagram._picture import LEGEND
from interlock.errors import InvalidInput
from interlock_adapters._callers.principal import Role
from interlock_adapters.console._core import Visit
from interlock_adapters.console._log import (
    EVENTS_SHOWN,
    artifacts_of,
    calls_of,
    ending_of,
    event_row,
    input_of,
    path_words,
    result_of_log,
)
from interlock_adapters.console._text import json_text
from interlock_adapters.console._views import ask_card, badge, rule_views

#: Tasks of one page, and asks.
PAGE_SIZE: Final = 50
#: Characters of what is searched for.
_SEARCH_CHARS_MAX: Final = 200
#: What is below a picture: in the picture itself it is too small to be read.
_LEGEND: Final = " ".join(LEGEND)
#: Digits of a place in a log.
_DIGITS_MAX: Final = 9


# --- the inbox -----------------------------------------------------------------------


async def inbox(visit: Visit) -> Response:
    """What waits for somebody who may deal with it."""
    return visit.page("inbox", parts=await inbox_parts(visit), live=_live_of(visit, "/inbox"))


async def inbox_parts(visit: Visit) -> dict[str, str]:
    """The cards of the inbox, and where it goes on."""
    cursor = _cursor_of(visit.request.query_params.get("cursor"))
    page = await visit.access.inbox(limit=PAGE_SIZE, cursor=cursor)
    cards = [
        ask_card(visit.access, entry.record, entry.ask, seed=visit.session.csrf, brief=True)
        for entry in page.entries
    ]
    more = _cursor_text(page.next_cursor)
    return {
        "inbox-cards": visit.part("_cards", cards=cards, back="inbox"),
        "inbox-more": visit.part("_inbox_more", count=len(cards), more=more),
    }


# --- the list of tasks ---------------------------------------------------------------


async def tasks(visit: Visit) -> Response:
    """Tasks by phase, newest change first."""
    return visit.page(
        "tasks",
        parts=await tasks_parts(visit),
        search=_search_of(visit),
        phase=visit.request.query_params.get("phase", ""),
        live=_live_of(visit, "/tasks"),
    )


async def tasks_parts(visit: Visit) -> dict[str, str]:
    """The filters with their counts, and the rows."""
    phase, search = _phase_of(visit), _search_of(visit)
    phases = frozenset({phase}) if phase is not None else None
    cursor = _cursor_of(visit.request.query_params.get("cursor"))
    page = await visit.access.page(
        phases=phases, search=search or None, limit=PAGE_SIZE, cursor=cursor
    )
    counts = await visit.access.counts(search=search or None)
    shown = [p for p in visit.console.engine.lifecycle.phases if p is not Phase.FINALIZED]
    filters = [(badge(each), counts.get(each, 0)) for each in shown]
    return {
        "task-filters": visit.part(
            "_filters",
            filters=filters,
            total=sum(counts.values()),
            chosen="" if phase is None else phase.value,
            search=search,
        ),
        "task-list": visit.part(
            "_task_rows",
            records=page.records,
            total=page.total,
            more=_cursor_text(page.next_cursor),
            is_first=cursor is None,
            phase="" if phase is None else phase.value,
            search=search,
        ),
    }


# --- one task ------------------------------------------------------------------------


async def task(visit: Visit) -> Response:
    """One task: where it stands, what it asks, what it made and did."""
    view = await visit.access.view(visit.request.path_params["task_id"])
    record = view.record
    before = visit.request.query_params.get("before", "")
    end = record.seq
    if (number := number_of(before)) is not None:
        end = max(0, min(end, number - 1))
    first = max(0, end - EVENTS_SHOWN)
    return visit.page(
        "task",
        record=record,
        parts=parts_of_view(visit, view),
        input=input_of(view.events),
        rows=[event_row(event) for event in view.events[first:end]],
        earlier=first + 1 if first else 0,
        # Of an earlier stretch of the log nothing is added at its end.
        live=f"/tasks/{record.task_id}/live?after={record.seq}" if end == record.seq else "",
    )


async def task_parts(visit: Visit, task_id: str) -> dict[str, str]:
    """What of the page changes with the task, but for the log."""
    return parts_of_view(visit, await visit.access.view(task_id))


def parts_of_view(visit: Visit, view: TaskView) -> dict[str, str]:
    """The same, of what was read."""
    record, events, access = view.record, view.events, visit.access
    cards = [ask_card(access, record, ask, seed=visit.session.csrf) for ask in record.asks]
    code, why = ending_of(record)
    calls = calls_of(record, events)
    # A finalized task is shown as its outcome, here as everywhere.
    lived = [event for event in events if event.trigger is not Trigger.FINALIZE]
    return {
        "task-state": visit.part("_state", record=record, code=code, why=why),
        "task-asks": visit.part("_cards", cards=cards, back="task"),
        "task-actions": visit.part(
            "_actions",
            task_id=record.task_id,
            cancels=access.may_cancel(record) and record.due is not None,
        ),
        "task-path": visit.part(
            "_path",
            picture=_path_picture(visit, lived),
            steps=path_words(lived),
            legend=_LEGEND,
        ),
        "task-made": visit.part(
            "_made", artifacts=artifacts_of(events), result=result_of_log(events)
        ),
        "task-calls": visit.part("_calls", calls=calls),
    }


def _path_picture(visit: Visit, events: Sequence[Event]) -> Markup | None:
    picture = picture_of(visit.console.engine.lifecycle)
    try:
        look = path_of(picture, events, "The path of this task")
    except KeyError:
        return None  # An older lifecycle wrote the log.
    return _drawn(visit, look)


def _drawn(visit: Visit, look: Look) -> Markup | None:
    """The picture, which holds no word of an agent's; None where nothing draws."""
    try:
        drawn = svg(picture_of(visit.console.engine.lifecycle), look)
    except GraphvizMissing:
        return None
    return Markup(drawn)  # noqa: S704  made by us of the lifecycle's own names, escaped there


# --- where tasks are -----------------------------------------------------------------


async def lifecycle(visit: Visit) -> Response:
    """How many tasks are in each phase, on the picture."""
    parts = await lifecycle_parts(visit)
    return visit.page("lifecycle", parts=parts, live=_live_of(visit, "/lifecycle"))


async def lifecycle_parts(visit: Visit) -> dict[str, str]:
    """The picture and the table."""
    counts = await visit.access.counts()
    # There may be tasks that live by another lifecycle.
    shown = [p for p in visit.console.engine.lifecycle.phases if p is not Phase.FINALIZED]
    here: dict[Phase, int] = {phase: counts.get(phase, 0) for phase in shown}
    look = population(picture_of(visit.console.engine.lifecycle), here)
    rows = [(badge(phase), count) for phase, count in here.items()]
    return {
        "population": visit.part(
            "_population", picture=_drawn(visit, look), rows=rows, legend=_LEGEND
        ),
    }


# --- policies ------------------------------------------------------------------------


async def policies(visit: Visit) -> Response:
    """The rules by which tools are called: for operators and auditors."""
    visit.access.require_of_service(Role.OPERATOR, Role.AUDITOR)
    return policies_page(visit)


def policies_page(
    visit: Visit, *, rule: str = "", body: str = "", faults: Sequence[str] = ()
) -> Response:
    """The page; with faults, what somebody wanted to set is still there to be mended."""
    tools = visit.console.engine.tools
    return visit.page(
        "policies",
        HTTPStatus.UNPROCESSABLE_ENTITY if faults else HTTPStatus.OK,
        rules=rule_views(tools.policies),
        version=tools.policies.version,
        tools=sorted(tool.qualified for tool in tools.tools),
        rule=rule,
        body=body or json_text({"confirm": "always"}),
        faults=faults,
    )


# --- what a query says ---------------------------------------------------------------


def _live_of(visit: Visit, path: str) -> str:
    query = visit.request.url.query
    return f"{path}/live?{query}" if query else f"{path}/live"


def _phase_of(visit: Visit) -> Phase | None:
    wanted = visit.request.query_params.get("phase", "")
    if not wanted:
        return None
    for phase in visit.console.engine.lifecycle.phases:
        if phase.value == wanted:
            return phase
    names = ", ".join(phase.value for phase in visit.console.engine.lifecycle.phases)
    raise InvalidInput([f"there is no such phase; the phases are: {names}"])


def number_of(said: str) -> int | None:
    """A place in a log, as a query says it; None for anything else."""
    is_one = said.isascii() and said.isdecimal() and len(said) <= _DIGITS_MAX
    return int(said) if is_one else None


def _search_of(visit: Visit) -> str:
    return visit.request.query_params.get("search", "").strip()[:_SEARCH_CHARS_MAX]


def _cursor_of(said: str | None) -> tuple[float, str] | None:
    """The place in a list that a link of ours names.

    Raises:
        InvalidInput: it is none of ours.
    """
    if not said:
        return None
    at, _, task_id = said.partition("~")
    try:
        return float(at), task_id
    except ValueError:
        raise InvalidInput(["the cursor is none that a page gave"]) from None


def _cursor_text(cursor: tuple[float, str] | None) -> str:
    return "" if cursor is None else f"{cursor[0]!r}~{cursor[1]}"


async def nowhere(visit: Visit) -> Response:
    """What is said where there is no page, with the way back."""
    status = HTTPStatus.NOT_FOUND
    problems = ["There is no such page of the console."]
    return visit.page("problem", status, problems=problems, title=status.phrase)
