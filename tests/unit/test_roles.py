"""Approvers that are roles: who acts in one may answer, and a name is never taken for a role.

R-SVC-02.  Threats: T5.
"""

from collections.abc import Sequence
from typing import Any

import pytest

from interlock import (
    Answer,
    Approval,
    Denial,
    Event,
    OpenAsk,
    Policy,
    TaskContext,
    TaskRecord,
    Trigger,
    fold,
)
from interlock._guards import roles_among
from interlock.errors import GuardRefused, InvalidInput
from support import OWNER, World, opened, triggers


async def pays(task: TaskContext) -> str:
    """Asks its approvers, who are named in the request."""
    approvers = task.input.text.split(" ")
    return str(await task.authorize("pay", {"n": 1}, approvers=approvers, on_deny="tell_agent"))


async def asks(task: TaskContext) -> str:
    """Asks for a value."""
    return await task.ask("How much?", approvers=task.input.text.split(" "))


async def approved(
    world: World, ask: OpenAsk, task_id: str, actor: str, roles: Sequence[str]
) -> TaskRecord:
    """Say yes."""
    yes = Approval(ask=ask.key, digest=ask.digest or "", decision="approve")
    return await world.engine.decide(task_id, yes, owner=None, actor=actor, roles=roles)


@pytest.mark.parametrize(
    ("approvers", "actor", "roles"),
    [
        ("role:approver", "eve", ["approver"]),
        ("role:approver", "role:approver", ["approver"]),
        ("bob role:approver", "eve", ["auditor", "approver"]),
        ("bob role:approver", "bob", []),
        ("role:a/b:c", "eve", ["a/b:c"]),
        ("role:role:x", "eve", ["role:x"]),
    ],
)
async def test_who_acts_in_the_role_may_decide(
    approvers: str, actor: str, roles: list[str]
) -> None:
    """Whoever it is, and beside those that are named.  Source: R-SVC-02."""
    async with opened(pays) as world:
        handle, ask = await world.asking(approvers)
        await approved(world, ask, handle.task_id, actor, roles)
        await handle.result()


@pytest.mark.parametrize(
    ("approvers", "actor", "roles"),
    [
        # A name that looks like the role, such as one that an identity provider let through.
        ("role:approver", "role:approver", []),
        ("bob role:approver", "role:approver", ["auditor"]),
        ("role:approver", "approver", []),
        ("role:approver", "eve", ["auditor"]),
        ("role:approver", "eve", ["Approver"]),
        ("role:approver", "eve", ["role:approver"]),
        # A role that looks like a name.
        ("bob", "eve", ["bob"]),
        ("bob", "eve", ["role:bob"]),
        ("role:approver", OWNER, []),
    ],
)
async def test_nobody_else_may(approvers: str, actor: str, roles: list[str]) -> None:
    """A name that begins with `role:` matches nothing.  Source: R-SVC-02, T5."""
    async with opened(pays) as world:
        handle, ask = await world.asking(approvers)
        before = world.log(handle)
        with pytest.raises(GuardRefused) as caught:
            await approved(world, ask, handle.task_id, actor, roles)
        assert caught.value.reason == "caller_may_answer"
        no = Denial(ask=ask.key, digest=ask.digest or "", decision="deny")
        with pytest.raises(GuardRefused):
            await world.engine.decide(handle.task_id, no, owner=None, actor=actor, roles=roles)
        assert world.log(handle) == before


async def test_a_role_may_answer_and_decline() -> None:
    """Values as well as decisions.  Source: R-SVC-02."""
    async with opened(asks) as world:
        one, ask = await world.asking("role:clerk")
        said = Answer(ask=ask.key, value="7")
        with pytest.raises(GuardRefused):
            await world.engine.answer(one.task_id, said, owner=OWNER)
        await world.engine.answer(one.task_id, said, owner=OWNER, roles=["clerk"])
        assert await one.result() == "7"
        other, ask = await world.asking("role:clerk")
        with pytest.raises(GuardRefused):
            await world.engine.decline(other.task_id, ask.key, owner=OWNER)
        await world.engine.decline(other.task_id, ask.key, owner=OWNER, roles=("clerk",))


def said_of(events: Sequence[Event], trigger: Trigger) -> dict[str, Any]:
    """The payload of the one event of a kind."""
    (found,) = [event for event in events if event.trigger is trigger]
    return dict(found.data)


async def test_the_log_says_in_which_roles_somebody_acted() -> None:
    """And nothing of roles where there were none, as in older logs.  Source: R-SVC-02."""
    async with opened(pays) as world:
        handle, ask = await world.asking("bob role:approver")
        await approved(world, ask, handle.task_id, "eve", ["approver", "auditor"])
        await handle.result()
        assert said_of(world.log(handle), Trigger.APPROVE)["roles"] == ["approver", "auditor"]
        assert fold(world.log(handle)) == world.stored(handle)
        plain, ask = await world.asking("bob")
        await approved(world, ask, plain.task_id, "bob", [])
        await plain.result()
        assert "roles" not in said_of(world.log(plain), Trigger.APPROVE)
        assert fold(world.log(plain)) == world.stored(plain)


async def test_a_repeat_in_other_roles_is_still_a_repeat() -> None:
    """The token stands for what was said, not for who somebody was then.  Source: R-SVC-02."""
    async with opened(asks) as world:
        handle, ask = await world.asking("role:clerk")
        said = Answer(ask=ask.key, value="7")
        for roles in (["clerk"], ["clerk", "auditor"], []):
            await world.engine.answer(
                handle.task_id,
                said,
                owner=OWNER,
                roles=roles,
                token="m",  # noqa: S106
            )
        assert triggers(world.log(handle)).count("provide_input") == 1


@pytest.mark.parametrize(
    ("roles", "problem"),
    [
        ("clerk", "roles is of type str"),
        ({"clerk"}, "roles is of type set"),
        (None, "roles is of type NoneType"),
        ([""], "a role has 0 characters"),
        ([7], "a role is of type int"),
        (["x" * 1_025], "a role has 1025 characters"),
        (["\ud800"], "the answer"),
    ],
)
async def test_what_is_no_role_is_refused(roles: Any, problem: str) -> None:  # noqa: ANN401
    """Before anything happens.  Source: R-SVC-02, T9."""
    async with opened(asks) as world:
        handle, ask = await world.asking("role:clerk")
        before = world.log(handle)
        said = Answer(ask=ask.key, value="7")
        with pytest.raises(InvalidInput, match=problem):
            await world.engine.answer(handle.task_id, said, owner=OWNER, roles=roles)
        with pytest.raises(InvalidInput, match=problem):
            await world.engine.decline(handle.task_id, ask.key, owner=OWNER, roles=roles)
        assert world.log(handle) == before


def test_a_policy_names_its_roles() -> None:
    """A role without a name would be one that nobody ever has.  Source: R-SVC-02."""
    assert Policy(approvers=("role:approver", "bob")).approvers == ("role:approver", "bob")
    with pytest.raises(ValueError, match="an approver has a name"):
        Policy(approvers=("role:",))


def test_roles_are_found_among_approvers() -> None:
    """For whoever tries an agent out, as the fuzz kit does.  Source: R-SVC-02."""
    assert roles_among(("bob", "role:clerk", "role:role:x")) == ["clerk", "role:x"]
