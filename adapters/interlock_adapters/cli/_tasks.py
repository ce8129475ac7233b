"""`interlock tasks`, `show`, `answer`, `decline`, `approve`, `deny`, `cancel`, `resume`, `purge`.

Against a server (`--server URL`), the file of a store (`--store sqlite:///PATH`), which is read
also while a server has it open, and changed only while none has, or a store that processes share
(`--store postgresql://...`), whatever runs on it meanwhile.
"""

import argparse
import getpass
import json
import math
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias, cast

from interlock import SystemClock
from interlock_adapters.cli import _lifecycles
from interlock_adapters.cli._common import (
    FAILED,
    MISUSED,
    OK,
    SQLITE,
    age,
    complain,
    positive,
    store_place,
)
from interlock_adapters.cli._lifecycles import lifecycle_named
from interlock_adapters.cli._tasks_desk import Desk, DeskError, Json, Wanted
from interlock_adapters.cli._tasks_file import FileDesk
from interlock_adapters.cli._tasks_store import StoreDesk
from interlock_adapters.cli._tasks_text import (
    Bar,
    ask_lines,
    columns_of,
    task_text,
    tasks_text,
)
from interlock_adapters.cli._words import clean

#: Makes a command: its name, what runs it, what it does in a few words.
Command: TypeAlias = Callable[
    [str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser
]
Does: TypeAlias = Callable[[Desk, argparse.Namespace], int]


class _Misused(Exception):
    """It was called in a way that cannot be meant; says what would be accepted."""


def declare(command: Command) -> None:
    """The commands and their arguments."""
    _declare_looking(command)
    _declare_answers(command)
    _declare_orders(command)


def _declare_looking(command: Command) -> None:
    tasks = command("tasks", _run(_tasks), "list tasks, those that changed last first")
    _where(tasks)
    tasks.add_argument(
        "--phase", action="append", default=[], metavar="PHASE", help="only of it; may be repeated"
    )
    tasks.add_argument(
        "--search", metavar="TEXT", help="the beginning of an id, a context, a part of an owner"
    )
    tasks.add_argument(
        "--limit", type=positive, default=50, metavar="N", help="at most (default: %(default)s)"
    )
    tasks.add_argument("--json", action="store_true", help="the same as JSON")

    show = command("show", _run(_show), "show a task: what it asks, did and came to")
    _task(show)
    _where(show)
    show.add_argument("--events", action="store_true", help="with its log")
    show.add_argument("--json", action="store_true", help="the same as JSON")


def _declare_answers(command: Command) -> None:
    answer = command("answer", _run(_answer), "answer what a task asks")
    _task(answer)
    answer.add_argument(
        "value",
        metavar="VALUE",
        help="as it is where a text is asked for, and otherwise JSON; - reads it from the input",
    )
    _ask(answer)
    _where(answer)
    _changes(answer)

    decline = command(
        "decline", _run(_decline), "decline to answer: the ask's default counts, or the task stops"
    )
    _task(decline)
    _ask(decline)
    _where(decline)
    decline.add_argument("--reason", metavar="TEXT", help="kept in the log")
    _changes(decline)

    approve = command("approve", _run(_approve), "let a task make the call that it asks about")
    _task(approve)
    _ask(approve)
    _where(approve)
    approve.add_argument(
        "--digest", metavar="DIGEST", help="of what is approved, as show has it; else you are asked"
    )
    approve.add_argument("--arguments", metavar="JSON", help="call it with these instead")
    approve.add_argument("--reason", metavar="TEXT", help="kept in the log")
    _changes(approve)

    deny = command("deny", _run(_deny), "say no to the call that a task asks about")
    _task(deny)
    _ask(deny)
    _where(deny)
    deny.add_argument(
        "--digest", metavar="DIGEST", help="of what is denied, as show has it; else what is asked"
    )
    deny.add_argument("--reason", metavar="TEXT", help="kept in the log, and told to the agent")
    _changes(deny)


def _declare_orders(command: Command) -> None:
    cancel = command("cancel", _run(_cancel), "ask a task to stop")
    _task(cancel)
    _where(cancel)
    cancel.add_argument("--reason", metavar="TEXT", help="kept in the log")
    _changes(cancel)

    resume = command(
        "resume", _run(_resume), "decide how a task goes on that waits for an operator"
    )
    _task(resume)
    _where(resume)
    how = resume.add_mutually_exclusive_group(required=True)
    for option, value, meaning in (
        ("--again", "again", "run it again as it is, now that its agent was mended"),
        ("--skip", "skip", "ignore the entry of its log at which it went astray"),
        ("--from-scratch", "from_scratch", "ignore all that it did, and do it once more"),
    ):
        how.add_argument(option, dest="how", action="store_const", const=value, help=meaning)
    _changes(resume)

    purge = command("purge", _run(_purge), "forget tasks that are over, for good")
    which = purge.add_mutually_exclusive_group(required=True)
    which.add_argument("task", nargs="?", metavar="TASK_ID", help="this one")
    which.add_argument(
        "--older-than", type=age, metavar="AGE", help="all that ended so long ago, as 30d or 12h"
    )
    _where(purge)
    _changes(purge)


def _task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK_ID", help="as interlock tasks shows it")


def _ask(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ask", metavar="KEY", help="which ask (default: the only one)")


def _where(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--server", metavar="URL", help="where the service is")
    where.add_argument(
        "--store",
        metavar="URL",
        type=store_place,
        help=f"where the tasks are: {SQLITE}PATH, or postgresql://HOST/DATABASE, which is shared",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="has the token for the server (default: the variable INTERLOCK_TOKEN)",
    )
    parser.add_argument(
        "--in-clear", action="store_true", help="send the token over http to another machine"
    )
    _lifecycles.declare_option(parser)


def _changes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--as",
        dest="actor",
        metavar="NAME",
        help="with --store: who it is that does this, for the log (default: cli: and the user)",
    )
    parser.add_argument("--json", action="store_true", help="what came of it as JSON")


# --- running --------------------------------------------------------------------------


def _run(does: Does) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        try:
            with closing(_desk(options)) as desk:
                return does(desk, options)
        except _Misused as error:
            return complain(str(error), MISUSED)
        except (DeskError, ModuleNotFoundError) as error:
            return complain(clean(str(error)), FAILED)

    return run


def _desk(options: argparse.Namespace) -> Desk:
    if options.store is not None:
        lifecycle = lifecycle_named(options.lifecycle)
        actor = getattr(options, "actor", None) or _user()
        if isinstance(options.store, str):
            return StoreDesk(options.store, lifecycle, actor)
        return FileDesk(options.store, lifecycle, actor)
    # Of an extra: a file is managed without.
    from interlock_adapters.cli._tasks_server import (  # noqa: PLC0415
        ServerDesk,
        server_url,
        token_of,
    )

    try:
        url = server_url(options.server)
    except ValueError as error:
        raise _Misused(f"--server: {error}") from None
    if getattr(options, "actor", None):
        raise _Misused("--as goes with --store only; a server knows who acts by the token")
    return ServerDesk(url, token_of(options.token_file), in_clear=options.in_clear)


def _user() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):
        return "cli"


def _tasks(desk: Desk, options: argparse.Namespace) -> int:
    page = desk.tasks(Wanted(options.phase, options.search, options.limit))
    if options.json:
        return _json(page)
    now = SystemClock().now()
    return _text(tasks_text(page, limit=options.limit, now=now, width=columns_of(sys.stdout)))


def _show(desk: Desk, options: argparse.Namespace) -> int:
    task = desk.task(options.task)
    events = desk.events(options.task) if options.events else []
    if options.json:
        return _json({**task, "events": events} if options.events else task)
    return _text(task_text(task, now=SystemClock().now(), events=events))


def _answer(desk: Desk, options: argparse.Namespace) -> int:
    ask = _open_ask(desk, options, kind="input")
    given = _input() if options.value == "-" else options.value
    value = given if _wants_text(ask["schema"]) else _read(given, "VALUE", "text is not asked for")
    return _acted(desk, options, "answer", {"ask": ask["key"], "value": value})


def _input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise _Misused(f"the input is no text in {sys.stdin.encoding}") from None


def _decline(desk: Desk, options: argparse.Namespace) -> int:
    ask = _open_ask(desk, options, kind="input")
    return _acted(desk, options, "decline", {"ask": ask["key"], "reason": options.reason})


def _wants_text(schema: Json) -> bool:
    """Whether every answer that fits is a text."""
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return all(isinstance(choice, str) for choice in cast("list[object]", choices))
    return schema.get("type") == "string" or isinstance(schema.get("const"), str)


def _approve(desk: Desk, options: argparse.Namespace) -> int:
    ask = _open_ask(desk, options, kind="auth")
    body: Json = {"ask": ask["key"], "digest": ask["digest"], "reason": options.reason}
    if options.arguments is not None:
        body["arguments"] = _read(options.arguments, "--arguments", "an object is accepted")
    if options.digest is not None:
        # What somebody saw, which is not always what is there by now.
        body["digest"] = options.digest
    elif not _is_confirmed(ask, body.get("arguments")):
        return complain("nothing was approved", FAILED)
    return _acted(desk, options, "approve", body)


def _is_confirmed(ask: Json, arguments: Any) -> bool:  # noqa: ANN401  JSON
    """Show what would run, and ask.

    Raises:
        _Misused: there is nobody to ask.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise _Misused(
            "where nobody can be asked, --digest says what is approved, as interlock show has it"
        )
    lines = [*ask_lines(ask, now=SystemClock().now())]
    if arguments is not None:
        lines += [f"  INSTEAD    {clean(json.dumps(arguments, ensure_ascii=False))}"]
    sys.stderr.write("\n".join([*lines, "Approve this? [y/N] "]))
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _deny(desk: Desk, options: argparse.Namespace) -> int:
    ask = _open_ask(desk, options, kind="auth")
    digest = ask["digest"] if options.digest is None else options.digest
    body = {"ask": ask["key"], "digest": digest, "reason": options.reason}
    return _acted(desk, options, "deny", body)


def _cancel(desk: Desk, options: argparse.Namespace) -> int:
    return _acted(desk, options, "cancel", {"reason": options.reason})


def _resume(desk: Desk, options: argparse.Namespace) -> int:
    task = desk.act(options.task, "resume", {"decision": options.how})
    if options.json:
        return _json(task)
    return _text(f"task {options.task} goes on {desk.when}")


def _purge(desk: Desk, options: argparse.Namespace) -> int:
    if options.task is not None:
        desk.forget(options.task)
        count = 1
    else:
        with Bar() as bar:
            count = desk.purge(options.older_than, bar)
    if options.json:
        return _json({"purged": count})
    return _text(f"{count} task{'s' * (count != 1)} forgotten")


def _acted(desk: Desk, options: argparse.Namespace, action: str, body: Json) -> int:
    task = desk.act(options.task, action, body)
    if options.json:
        return _json(task)
    then = "" if desk.when == "now" else f"; the engine goes on with it {desk.when}"
    return _text(f"task {clean(task['task_id'])} is {task['phase']}{then}")


def _open_ask(desk: Desk, options: argparse.Namespace, *, kind: str) -> Json:
    """The ask that is meant.

    Raises:
        DeskError: it is not there.
        _Misused: it is not clear which is meant.
    """
    task = desk.task(options.task)
    wanted = "a value" if kind == "input" else "a decision"
    fitting = [ask for ask in task["asks"] if ask["kind"] == kind and not ask["for_operator"]]
    if options.ask is not None:
        fitting = [ask for ask in fitting if ask["key"] == options.ask]
    if len(fitting) == 1:
        found: Json = fitting[0]
        return found
    if fitting:
        keys = ", ".join(ask["key"] for ask in fitting)
        raise _Misused(clean(f"it asks for several things; --ask says which: {keys}"))
    keys = ", ".join(ask["key"] for ask in task["asks"])
    open_now = f"open are: {keys}" if keys else "nothing is open"
    named = "" if options.ask is None else f" {options.ask!r}"
    raise DeskError(
        f"task {options.task!r} is {task['phase']} and has no ask{named} for {wanted}; {open_now}"
    )


def _read(text: str, what: str, hint: str) -> Any:  # noqa: ANN401  JSON
    def finite(number: str) -> float:
        if not math.isfinite(value := float(number)):
            raise _Misused(f"{what} has {number} in it; numbers up to 1.7e308 are accepted")
        return value

    try:
        return json.loads(text, parse_constant=finite, parse_float=finite)
    except (ValueError, RecursionError):
        raise _Misused(f"{what} is no JSON; {hint}, as '{{\"euro\": 5}}'") from None


def _json(said: Json) -> int:
    return _text(json.dumps(said, indent=2))


def _text(said: str) -> int:
    sys.stdout.write(f"{said}\n")
    return OK
