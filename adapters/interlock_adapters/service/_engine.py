"""The engine of a configuration: its agent, its tools under their policies, its store."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

from interlock import (
    LIFECYCLE,
    Deliverer,
    Engine,
    Lifecycle,
    Observer,
    Policies,
    Policy,
    Toolbox,
    ToolSource,
)
from interlock.errors import AmbiguousTool, InvalidInput, UnknownTool
from interlock.stores import Store, shared, store_at
from interlock_adapters.config import Config
from interlock_adapters.config._parts import McpSourceConfig
from interlock_adapters.policies import load_policies
from interlock_adapters.service._agent import Instructions, agent_of, lifecycle_of, needs, resolved

#: Schemes of the store whose settings are here.
_POSTGRES: Final = frozenset({"postgres", "postgresql"})


def engine_of(
    config: Config,
    instructions: Instructions,
    deliverers: Mapping[str, Deliverer],
    observer: Observer | None = None,
    *,
    takes_turns: bool = True,
) -> Engine:
    """The engine, not started; nothing is connected to.

    Raises:
        InvalidInput: something cannot be found or made; every fault, with its place.
    """
    problems: list[str] = []

    def tried(make: Callable[[], Any]) -> Any:  # noqa: ANN401  whatever it makes
        try:
            return make()
        except InvalidInput as error:
            problems.extend(error.problems)
        return None

    agent = tried(lambda: agent_of(config))
    lifecycle = tried(lambda: lifecycle_of(config))
    tools = tried(lambda: _toolbox_of(config, instructions))
    store: Store | None = tried(lambda: store_of(config, lifecycle or LIFECYCLE))
    if store is not None and not takes_turns and not shared(store):
        problems.append(
            f"{config.at('store')}: nobody else can run the agents of a store that is this "
            "process's own; postgresql://... or restate://... is accepted"
        )
    if problems or store is None:
        raise InvalidInput(problems)
    further = {} if lifecycle is None else {"lifecycle": lifecycle}
    return Engine(
        agent,
        tools=tools,
        store=store,
        limits=config.limits,
        deliverers=deliverers,
        observer=observer,
        takes_turns=takes_turns,
        **further,
    )


def store_of(config: Config, lifecycle: Lifecycle = LIFECYCLE) -> Store:
    """The store that it names, not opened, for tasks that live by that lifecycle.

    Raises:
        InvalidInput: there is none, or what it needs is not installed.
    """
    url, at = config.store_url, config.at("store")
    scheme = url.partition("://")[0]
    try:
        # Of extras, each with what only a URL does not say.
        if scheme in _POSTGRES:
            from interlock_adapters.postgres import PostgresStore  # noqa: PLC0415

            return PostgresStore(url, **config.postgres.model_dump())
        if scheme == "restate":
            from interlock_adapters.restate import RestateStore  # noqa: PLC0415

            return RestateStore(url, lifecycle=lifecycle, grace_s=config.limits.grace_s)
        return store_at(url)
    except ModuleNotFoundError as missing:
        raise needs(at, "postgres" if scheme in _POSTGRES else scheme, missing) from None
    except InvalidInput as error:
        raise InvalidInput([f"{at}: {problem}" for problem in error.problems]) from None


def _toolbox_of(config: Config, instructions: Instructions) -> Toolbox:
    problems: list[str] = []
    sources: list[ToolSource | Callable[..., Any]] = []
    plugins: list[object] = [instructions]
    rules: dict[str, Policy] = {}
    for number, named in enumerate(config.tools):
        with _noted(problems):
            found = resolved(config, named, "tools", number)
            sources.append(cast("Callable[..., Any]", found))
    for number, named in enumerate(config.plugins):
        with _noted(problems):
            plugins.append(resolved(config, named, "plugins", number))
    for name, source in config.mcp.items():
        with _noted(problems):
            sources.append(_mcp_server(config, name, source))
        with _noted(problems):
            of_source = _rules_of(config, source.policies, "mcp", name, "policies")
            clash = sorted(rules.keys() & {f"{name}/{rule}" for rule in of_source})
            assert not clash, "names of sources have no slash"
            rules |= {_qualified(name, rule): policy for rule, policy in of_source.items()}
    with _noted(problems):
        general = _rules_of(config, config.policies, "policies")
        problems += [
            f"{config.at('policies')}: {rule}: mcp has that rule as well; one is accepted"
            for rule in sorted(general.keys() & rules.keys())
        ]
        rules |= general
    if problems:
        raise InvalidInput(problems)
    toolbox = Toolbox(
        sources,
        policies=Policies(rules),
        plugins=plugins,
        qualified=config.qualified,
        agent_tools=config.agent_tools,
    )
    try:
        toolbox.check()
    except (UnknownTool, AmbiguousTool) as error:
        raise InvalidInput([f"{config.at('policies')}: {error}"]) from None
    except InvalidInput as error:
        problems = [f"{config.at(_place_of(problem))}: {problem}" for problem in error.problems]
        raise InvalidInput(problems) from None
    return toolbox


def _place_of(problem: str) -> str:
    """Where in a configuration that is which a toolbox finds wrong with its tools and rules."""
    return "policies" if problem.startswith("rule ") else "tools"


@contextmanager
def _noted(problems: list[str]) -> Generator[None]:
    """A block whose faults are collected, so that all of them are told at once."""
    try:
        yield
    except InvalidInput as error:
        problems.extend(error.problems)


def _qualified(source: str, rule: str) -> str:
    return rule if rule.startswith(f"{source}/") else f"{source}/{rule}"


def _rules_of(
    config: Config, policies: "Path | dict[str, Policy]", *place: str
) -> Mapping[str, Policy]:
    if not isinstance(policies, Path):
        return policies
    path = config.path(policies)
    try:
        return load_policies(path, environ=config.environ).rules
    except OSError as error:
        raise InvalidInput([f"{config.at(*place)}: {path}: {error.strerror}"]) from None


def _mcp_server(config: Config, name: str, source: McpSourceConfig) -> ToolSource:
    at = config.at("mcp", name)
    try:
        from mcp import StdioServerParameters  # noqa: PLC0415  an extra

        from interlock_adapters.mcp_tools import McpLimits, McpServer  # noqa: PLC0415  as above
    except ModuleNotFoundError as missing:
        raise needs(at, "mcp", missing) from None
    command = None
    if source.command is not None:
        program, *arguments = source.command
        environ = {key: value.get_secret_value() for key, value in source.env.items()}
        command = StdioServerParameters(
            command=program, args=arguments, env=environ or None, cwd=config.base
        )
    try:
        return McpServer(
            name,
            url=source.url,
            command=command,
            headers={key: value.get_secret_value() for key, value in source.headers.items()},
            pass_through=source.pass_through,
            shared=source.shared,
            optional=source.optional,
            era=source.era,
            limits=McpLimits(**source.retry.model_dump()),
        )
    except InvalidInput as error:
        raise InvalidInput([f"{at}: {problem}" for problem in error.problems]) from None


def passed_on(config: Config) -> Iterator[str]:
    """The headers of requests that some source of tools is given."""
    for source in config.mcp.values():
        yield from source.pass_through
