"""What a configured service tells of itself: spans, metrics, and the page of the metrics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from interlock import Observer, Phase
from interlock_adapters._http.asgi import App
from interlock_adapters.config import ServiceConfig
from interlock_adapters.service._agent import needs
from interlock_adapters.service._changes import Changes

if TYPE_CHECKING:
    from interlock_adapters.prometheus import Prometheus


@dataclass(frozen=True, slots=True)
class Observed:
    """What goes with an engine that is observed."""

    #: For the engine; None is nobody.
    observer: Observer | None = None
    #: Stands in front of the faces, so that spans are part of the trace of a request.
    tracing: Callable[..., App] | None = None
    #: The page of the metrics.
    metrics: App | None = None
    #: To be called when the engine is closed.
    close: Callable[[], None] | None = None
    #: To be told how many tasks all replicas have, where there are several.
    counted: Callable[[Mapping[Phase, int]], None] | None = None
    #: Says when something was committed; it is the observer then.
    changes: Changes | None = None


def observed(config: ServiceConfig) -> Observed:
    """What the configuration wants told, and the console must know.

    Raises:
        InvalidInput: the extra of it is not installed.
    """
    told = _telemetry(config)
    if not config.faces.console:
        return told
    changes = Changes(told.observer)
    return replace(told, observer=changes, changes=changes)


def _telemetry(config: ServiceConfig) -> Observed:
    said = config.telemetry
    if not (said.on or said.prometheus):
        return Observed()
    at = config.at("telemetry")
    try:
        from interlock_adapters.telemetry import (  # noqa: PLC0415  of an extra
            Langfuse,
            Telemetry,
            TraceParent,
        )
    except ModuleNotFoundError as missing:
        raise needs(at, "telemetry", missing) from None
    page = _prometheus(at) if said.prometheus else None
    telemetry = Telemetry(
        meter_provider=None if page is None else page.meter_provider,
        content=said.content,
        langfuse=Langfuse() if said.langfuse else None,
    )
    if page is None:
        return Observed(telemetry, TraceParent, counted=telemetry.counted)
    return Observed(telemetry, TraceParent, page.app, page.close, telemetry.counted)


def _prometheus(at: str) -> "Prometheus":
    try:
        from interlock_adapters.prometheus import Prometheus as Page  # noqa: PLC0415  of an extra
    except ModuleNotFoundError as missing:
        raise needs(at, "prometheus", missing) from None
    return Page()
