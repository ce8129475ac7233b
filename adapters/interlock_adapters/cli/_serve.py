"""`interlock serve`: a service from its file, or from Python, until it is told to stop.

Also what `interlock check` says of such a file.
"""

import argparse
import inspect
import logging
import socket
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from interlock.errors import EngineError, InvalidInput
from interlock_adapters._shown.config import without_secrets
from interlock_adapters.cli._common import FAILED, MISUSED, OK, NotFound, complain

if TYPE_CHECKING:
    from interlock_adapters.config import Config, ServiceConfig
    from interlock_adapters.service import Service

#: What is served where nothing is named.
APP: Final = "app.yaml"
#: Loggers of uvicorn, which have handlers of their own.
_UVICORN: Final = ("uvicorn", "uvicorn.access", "uvicorn.error")
_LEVELS: Final = ("debug", "info", "warning", "error")
_FLAG: Final = "dangerously_open_to_everyone"
_WANTED: Final = "a Service, a Config or an Engine, or a function that makes one, is accepted"


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "target",
        nargs="?",
        default=APP,
        metavar="FILE.yaml|MODULE:NAME",
        help="a configuration, or where a Service, a Config or an Engine is, or what makes one "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--no-turns",
        dest="turns",
        action="store_false",
        help="run no agent here: other processes on the same store do (interlock worker)",
    )
    parser.set_defaults(faces=True)
    listening(parser)
    parser.add_argument(
        "--submit",
        metavar="TEXT",
        help="submit a first task with this text, so that there is something to see",
    )


def listening(parser: argparse.ArgumentParser) -> None:
    """The arguments that say where it listens, and what it says."""
    parser.add_argument("--host", help="the address to listen on (default: as configured)")
    parser.add_argument(
        "--port", type=port, help="the port to listen on, 0 for a free one (default: as configured)"
    )
    parser.add_argument("--log-level", choices=_LEVELS, help="(default: as configured)")
    parser.add_argument(
        f"--{_FLAG.replace('_', '-')}",
        dest=_FLAG,
        action="store_true",
        help="listen beyond this machine although nobody is asked to sign in: whoever gets there "
        "can read, approve and cancel everything",
    )


def run(options: argparse.Namespace) -> int:
    """Serve; 0 when it was told to stop, 1 or 3 if it did not come up, 2 if it must not."""
    try:
        service, listener = _prepared(options)
    except ModuleNotFoundError as missing:
        return without_extra(missing)
    except InvalidInput as error:
        return _complain_each(error.problems)
    except EngineError as error:  # It would be open to everyone.
        return complain(str(error), MISUSED)
    except OSError as error:
        return complain(f"{error.filename or options.target}: {error.strerror}", FAILED)
    with listener:
        _log_as(service, options.log_level)
        if getattr(options, "submit", None):
            service.while_served(_first_task(service, options.submit))
        told = "\n".join([f"{service.config.name}:", *_told(service)])

        def tell() -> None:
            sys.stdout.write(f"{told}\n")
            sys.stdout.flush()

        return service.serve(sockets=[listener], log_level=options.log_level, on_listening=tell)


def _prepared(options: argparse.Namespace) -> "tuple[Service, socket.socket]":
    """The service, and the port that it will have; nobody is let in yet."""
    target = _target(options.target)
    config, listener = _bound(target, options)
    try:
        service = _service(target, config, options)
        service.refuse_open([str(listener.getsockname()[0])])
    except BaseException:
        listener.close()
        raise
    return service, listener


def check(path: Path) -> int:
    """Say whether a configuration can be served, without opening anything; 0 if it can."""
    try:
        from interlock_adapters.config import load_config  # noqa: PLC0415  of an extra
        from interlock_adapters.service import Service  # noqa: PLC0415  as above

        config = load_config(path)
        service = Service.of(config)
        service.refuse_open()
    except ModuleNotFoundError as missing:
        return without_extra(missing)
    except InvalidInput as error:
        return _complain_each(error.problems)
    except EngineError as error:  # It would be open to everyone.
        return complain(f"{path}: {error}", FAILED)
    except OSError as error:
        return complain(f"{path}: {error.strerror}", FAILED)
    tools = sorted(tool.qualified for tool in service.engine.tools.tools)
    lines = [
        f"{path}: it can be served",
        f"  agents       {', '.join(service.engine.agents)}",
        f"  tools        {', '.join(tools) or 'none'}"
        + (f", and what these have: {', '.join(config.mcp)}" if config.mcp else ""),
        f"  policies     {', '.join(service.engine.tools.policies.rules) or 'none'}",
        *_told(service),
    ]
    sys.stdout.write("\n".join([*lines, ""]))
    return OK


def is_config(name: str | None) -> bool:
    """Whether an argument means a configuration: a file, and no MODULE:NAME."""
    return name is not None and (name.endswith((".yaml", ".yml")) or Path(name).is_file())


# --- what is to be served -----------------------------------------------------------------


def _target(named: str) -> object:
    """What the argument names: a Config, a Service or an Engine.

    Raises:
        InvalidInput: it names none of these.
        OSError: the file cannot be read.
    """
    from interlock_adapters.config import load_config  # noqa: PLC0415  of an extra

    if is_config(named):
        return load_config(Path(named))
    from interlock_adapters.cli._found import module_and_object  # noqa: PLC0415  as the above

    try:
        found = module_and_object(named)[1]
    except NotFound as error:
        raise InvalidInput([f"{error} (a file ends with .yaml)"]) from None
    if callable(found) and not _is_servable(found):
        if not _can_be_called(found):
            # An agent, most likely: it is what people write first.
            agent = f"of an agent it is a file that says agent: {named}"
            raise InvalidInput([f"{named}: it takes arguments; {_WANTED}; {agent}"])
        found = cast("Any", found)()
    if not _is_servable(found):
        raise InvalidInput([f"{named}: it is of type {type(found).__name__}; {_WANTED}"])
    return found


def _can_be_called(found: object) -> bool:
    """Whether it can be called without arguments, as far as it says."""
    try:
        # What is called is what wraps it, if anything does.
        inspect.signature(cast("Any", found), follow_wrapped=False).bind()
    except TypeError:
        return False
    except ValueError:  # One that is written in C may not say.
        return True
    return True


def _is_servable(found: object) -> bool:
    from interlock import Engine  # noqa: PLC0415  the others are of extras
    from interlock_adapters.config import Config  # noqa: PLC0415  as above
    from interlock_adapters.service import Service  # noqa: PLC0415  as above

    return isinstance(found, Engine | Config | Service)


def _bound(
    target: object, options: argparse.Namespace
) -> "tuple[Config | ServiceConfig, socket.socket]":
    """The configuration with what the command line says, and the port taken, not yet open.

    Raises:
        InvalidInput: the port cannot be had, or a Service was given another.
    """
    from interlock_adapters.config import Config, ServiceConfig  # noqa: PLC0415  of an extra
    from interlock_adapters.service import Service  # noqa: PLC0415  as above

    config: ServiceConfig = ServiceConfig()
    if isinstance(target, Config):
        config = target
    elif isinstance(target, Service):
        config = target.config
        if (options.host, options.port) != (None, None) or getattr(options, _FLAG):
            # Its cards and pages were made with the address that it was given.
            wanted = (
                f"ServerConfig(host=..., port=..., {_FLAG}=...) is accepted there, no option here"
            )
            raise InvalidInput([f"a Service says by itself where it is; {wanted}"])
    said: dict[str, object] = {}
    if options.host is not None:
        said["host"] = options.host
    if options.port is not None:
        said["port"] = options.port
    if getattr(options, _FLAG):
        said[_FLAG] = True
    server = config.server.model_copy(update=said)
    listener = socket.socket(socket.AF_INET6 if ":" in server.host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((server.host.strip("[]"), server.port))
    except OSError as error:
        listener.close()
        where = f"{server.host} port {server.port}"
        raise InvalidInput([f"{where}: {error.strerror}; --host and --port name others"]) from None
    except (TypeError, UnicodeError):  # It cannot even be looked up.
        listener.close()
        wanted = "a name or an address is accepted, as 127.0.0.1"
        raise InvalidInput([f"{server.host!r:.80} is no host; {wanted}"]) from None
    server = server.model_copy(update={"port": listener.getsockname()[1]})
    return config.model_copy(update={"server": server}), listener


def _service(target: object, config: "ServiceConfig", options: argparse.Namespace) -> "Service":
    from interlock import Engine  # noqa: PLC0415  the others are of extras
    from interlock_adapters.config import Config  # noqa: PLC0415  as above
    from interlock_adapters.service import Service  # noqa: PLC0415  as above

    if isinstance(config, Config):
        return Service.of(config, faces=options.faces, turns=options.turns)
    if not (options.faces and options.turns):
        # What has been made already has its faces, and takes turns or not.
        wanted = "a configuration is accepted where it is to have only a part of that"
        raise InvalidInput([f"{options.target}: it is made already; {wanted}"])
    match target:
        case Service():
            return target
        case _:
            return Service(cast("Engine", target), config)


def _first_task(service: "Service", text: str) -> Any:  # noqa: ANN401  a life, as the service has
    from interlock_adapters._callers.principal import ANONYMOUS  # noqa: PLC0415  as the above

    @asynccontextmanager
    async def life() -> AsyncGenerator[None]:
        await service.engine.submit(text, owner=ANONYMOUS)
        yield

    return life


# --- what is said -------------------------------------------------------------------------


def _told(service: "Service") -> Sequence[str]:
    """Where everything is."""
    return [f"  {what:<12} {where}" for what, where in _where(service)]


def _where(service: "Service") -> Iterator[tuple[str, str]]:
    from interlock_adapters.auth import TrustLocal  # noqa: PLC0415  of an extra
    from interlock_adapters.config import Config  # noqa: PLC0415  as above

    config, url = service.config, service.url
    faces = config.faces
    if faces.console:
        yield "console", f"{url}/console"
    if faces.a2a is not None:
        yield "agent card", f"{url}/.well-known/agent-card.json"
        yield "A2A", f"{url}{faces.a2a.rpc_path} (JSON-RPC), {url}{faces.a2a.rest_path} (REST)"
        if faces.a2a.grpc is not None:
            yield "A2A, gRPC", faces.a2a.grpc.address
    if faces.mcp is not None:
        yield "MCP", f"{url}{faces.mcp.path}"
    if faces.management:
        yield "management", f"{url}/manage (described by {url}/manage/openapi.json)"
    yield from [("metrics", f"{url}/metrics")] * config.telemetry.prometheus
    yield "health", f"{url}/healthz, {url}/readyz"
    ways = ["a message over A2A"] * (faces.a2a is not None)
    ways += ["a call of its tool over MCP"] * (faces.mcp is not None)
    if ways or faces.management or faces.console:
        yield "new tasks", ", ".join([*ways, "interlock serve --submit TEXT"])
    if isinstance(config, Config):
        yield "tasks", without_secrets(config.store_url)
    trusting = service.authenticator
    if not isinstance(trusting, TrustLocal):
        yield "who may call", "whoever shows a credential (interlock token makes one)"
    elif trusting.open_to_everyone:
        yield "who may call", "EVERYONE who gets here, as an approver and operator of all tasks"
    else:
        yield "who may call", "whoever is on this machine, as an approver and operator of all tasks"


def _log_as(service: "Service", said: str | None) -> None:
    """Have the process's log as the configuration says, or the command line."""
    log = service.config.log
    level = (said or log.level).upper()
    if not log.json_lines:
        logging.basicConfig(level="WARNING", format="%(levelname)s:     %(name)s: %(message)s")
        logging.getLogger("interlock").setLevel(level)
        return
    from interlock_adapters.logs import json_logging  # noqa: PLC0415  of few

    json_logging(level)
    service.while_served(_as_all_others)


@asynccontextmanager
async def _as_all_others() -> AsyncGenerator[None]:
    """While it is served, have uvicorn's lines written as all others are."""
    for name in _UVICORN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    yield


def _complain_each(problems: Sequence[str]) -> int:
    for problem in problems:
        complain(problem, FAILED)
    return FAILED


def without_extra(missing: ModuleNotFoundError) -> int:
    """Say which extra would bring what is missing; a module of ours that is missing is a bug."""
    if (missing.name or "").partition(".")[0] in {"interlock", "interlock_adapters"}:
        raise missing
    return complain(
        f"{missing.name} is missing: a service needs its extra, pip install 'interlock[service]'",
        FAILED,
    )


def port(text: str) -> int:
    """A port: an argument's type."""
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):  # noqa: PLR2004  TCP's
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)
