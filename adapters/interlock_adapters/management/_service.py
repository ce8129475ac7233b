"""Management of what all tasks share: policies, tools, instructions, configuration, purges.

It concerns every tenant, so it is for operators (and to look at, auditors) of the deployment:
principals without a tenant.
"""

from http import HTTPStatus
from typing import Annotated, Final, Protocol, TypeAlias, runtime_checkable

from fastapi import APIRouter
from fastapi import Path as InPath

from interlock import Engine, JsonObject, Policies, Policy, SourceState, Tool, When
from interlock._json import digest
from interlock_adapters._shown.models import (
    DecidedShown,
    InstructionsBody,
    InstructionsShown,
    PolicyBody,
    PurgeBody,
    PurgedShown,
    RuleShown,
    RulesShown,
    SourceShown,
    SourcesShown,
    StatisticsShown,
    ToolShown,
    VersionShown,
)
from interlock_adapters.management._audit import audit
from interlock_adapters.management._caller import Caller, Changing, Looking
from interlock_adapters.management._problems import UnknownResource, problems

Rule: TypeAlias = Annotated[
    str, InPath(max_length=1_024, description="source/tool, tool, source/* or *")
]

#: Tasks that are forgotten at a time, so that nobody waits long for the store.
_PURGED_AT_ONCE: Final = 1_000

_LOOK: Final = problems(403)
_CHANGE: Final = problems(403, 404, 409, 422)


@runtime_checkable
class Instructions(Protocol):
    """What agents are told, where it can be changed while they run."""

    def get(self) -> str:
        """The text."""
        ...

    def set(self, text: str) -> None:
        """Replace it, from the next task on."""


def service_router(
    engine: Engine,
    *,
    config: JsonObject,
    instructions: Instructions | None,
) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["service"])
    _add_policies(router, engine.tools.policies)
    _add_tools(router, engine)
    _add_instructions(router, instructions)
    _add_upkeep(router, engine)

    @router.get("/config", summary="The configuration in effect", responses=_LOOK)
    async def get_config(_access: Looking) -> JsonObject:
        """Everything that is configured, without secrets."""
        return config

    return router


def _add_policies(router: APIRouter, policies: Policies) -> None:
    @router.get("/policies", summary="The rules of the policies", responses=_LOOK)
    async def list_policies(_access: Looking) -> RulesShown:
        """Every rule; the most exact one that names a tool decides about it."""
        rules = [_rule_shown(rule, policy) for rule, policy in policies.rules.items()]
        return RulesShown(version=policies.version, rules=rules)

    @router.get("/policies/{rule:path}", summary="One rule", responses=problems(403, 404, 422))
    async def get_policy(rule: Rule, _access: Looking) -> RuleShown:
        """What was set of it."""
        return _rule_shown(rule, _of_rule(policies, rule))

    @router.put("/policies/{rule:path}", summary="Make or replace a rule", responses=_CHANGE)
    async def put_policy(rule: Rule, said: PolicyBody, access: Changing) -> VersionShown:
        """It counts from the next call on, and as long as the service runs."""
        body = said.model_dump(mode="json", by_alias=True, exclude_unset=True)
        policy = Policies.of_json({rule: body}).rules[rule]
        version = policies.set(rule, policy)
        said_of_it = digest(policy.to_json())
        audit(access.principal, "policy_set", rule=rule, version=version, digest=said_of_it)
        return VersionShown(version=version)

    @router.delete("/policies/{rule:path}", summary="Drop a rule", responses=_CHANGE)
    async def drop_policy(rule: Rule, access: Changing) -> VersionShown:
        """The next exact rule decides from the next call on."""
        _of_rule(policies, rule)
        version = policies.drop(rule)
        audit(access.principal, "policy_dropped", rule=rule, version=version)
        return VersionShown(version=version)


def _add_tools(
    router: APIRouter,
    engine: Engine,
) -> None:
    toolbox = engine.tools

    def shown(source: SourceState) -> SourceShown:
        return SourceShown(
            name=source.name,
            available=source.available,
            refreshable=source.refreshable,
            tools=[_tool_shown(toolbox.policies, tool) for tool in source.tools],
        )

    @router.get("/sources", summary="Servers and their tools", responses=_LOOK)
    async def list_sources(_access: Looking) -> SourcesShown:
        """Where tools come from, and what each has, with the policy that decides about it now."""
        return SourcesShown(sources=[shown(state) for state in toolbox.sources.values()])

    @router.post(
        "/sources/{source}/rediscover",
        summary="Ask a server anew what it has",
        responses=problems(403, 404, 409, 422, 502),
    )
    async def rediscover(source: str, access: Changing) -> SourceShown:
        """It counts from the next call on; nothing changes if names or rules clash."""
        state = await toolbox.rediscover(source)
        audit(access.principal, "source_rediscovered", source=source, tools=len(state.tools))
        return shown(state)


def _add_instructions(
    router: APIRouter,
    instructions: Instructions | None,
) -> None:
    def there() -> Instructions:
        if instructions is None:
            raise UnknownResource("the agents of this service have no instructions to be changed")
        return instructions

    @router.get("/instructions", summary="What agents are told", responses=problems(403, 404))
    async def get_instructions(_access: Looking) -> InstructionsShown:
        """The text of now."""
        return InstructionsShown(text=there().get())

    @router.put("/instructions", summary="Change what agents are told", responses=_CHANGE)
    async def put_instructions(said: InstructionsBody, access: Changing) -> InstructionsShown:
        """It counts from the next task on, and as long as the service runs."""
        kept = there()
        kept.set(said.text)
        audit(access.principal, "instructions_set", digest=digest(said.text), chars=len(said.text))
        return InstructionsShown(text=kept.get())


def _add_upkeep(router: APIRouter, engine: Engine) -> None:
    @router.post(
        "/purge",
        summary="Forget tasks that are over",
        status_code=HTTPStatus.OK,
        responses=problems(403, 422, 503),
    )
    async def purge(said: PurgeBody, access: Changing) -> PurgedShown:
        """Forget finalized tasks that ended so long ago, some at a time: again until it says 0."""
        gone = await engine.purge(older_than_s=said.older_than_s, limit=_PURGED_AT_ONCE)
        audit(access.principal, "purged", older_than_s=said.older_than_s, tasks=len(gone))
        return PurgedShown(purged=len(gone))

    @router.get("/statistics", summary="What is held right now", responses=problems(503))
    async def get_statistics(access: Caller) -> StatisticsShown:
        """Numbers of the process for who looks after it, and the tasks that the caller sees."""
        counts = await access.counts()
        held = engine.statistics() if access.is_of_service else None
        return StatisticsShown(
            accepting=engine.statistics().accepting,
            live=None if held is None else held.live,
            running=None if held is None else held.running,
            queued=None if held is None else held.queued,
            abandoned=None if held is None else held.abandoned,
            quarantined=None if held is None else held.quarantined,
            phases={phase.value: count for phase, count in counts.items()},
        )


def _of_rule(policies: Policies, rule: str) -> Policy:
    """The policy of a rule.

    Raises:
        UnknownResource: there is none of that name.
    """
    policy = policies.rules.get(rule)
    if policy is None:
        raise UnknownResource("there is no such rule")
    return policy


def _rule_shown(rule: str, policy: Policy) -> RuleShown:
    is_code = not isinstance(policy.confirm, str | When)
    return RuleShown(rule=rule, policy=policy.to_json(), is_code=is_code)


def _tool_shown(policies: Policies, tool: Tool) -> ToolShown:
    decided = policies.of(tool)
    return ToolShown(
        name=tool.name,
        qualified=tool.qualified,
        description=tool.description,
        title=tool.title,
        input_schema=tool.input_schema,
        output_schema=tool.output_schema,
        idempotent=tool.idempotent,
        enabled=decided.policy.enabled,
        decided=DecidedShown(
            rule=decided.rule,
            version=decided.version,
            digest=decided.digest,
            policy=decided.said,
        ),
    )
