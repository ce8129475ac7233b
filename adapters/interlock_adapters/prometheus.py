"""Metrics for Prometheus: a meter provider, and the page that is scraped.

    prometheus = Prometheus()
    engine = Engine(agent, observer=Telemetry(meter_provider=prometheus.meter_provider))
    routes = [Mount("/metrics", prometheus.app)]

The numbers are of the whole deployment: only its operators and auditors may see them, not those
of one of its tenants.  A scraper that has no token can be given a port of its own, on an address
that nobody else reaches, with `Prometheus(open_to_everyone=True)`.
"""

import json
from http import HTTPStatus
from typing import Final

try:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.sdk.metrics import MeterProvider
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "interlock_adapters.prometheus needs the prometheus extra: "
        "pip install 'interlock[prometheus]'",
        name=_missing.name,
    ) from _missing

from interlock_adapters._callers.principal import Principal, Role
from interlock_adapters._http.asgi import PROBLEM_JSON, Receive, Scope, Send

__all__ = ["Prometheus"]

_MAY_SEE: Final = frozenset({Role.OPERATOR, Role.AUDITOR})


class Prometheus:
    """Keeps metrics in this process until they are scraped from `app`, an ASGI application."""

    def __init__(self, *, open_to_everyone: bool = False) -> None:
        self._open: Final = open_to_everyone
        # Its own, so that two services in one process do not see each other's numbers.
        self._registry: Final = CollectorRegistry()
        reader = PrometheusMetricReader(registry=self._registry)
        #: For `Telemetry`, and for whatever else has metrics.
        self.meter_provider: Final = MeterProvider(metric_readers=[reader])

    def close(self) -> None:
        """Let go of the registry; there are no numbers any more."""
        self.meter_provider.shutdown()

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a GET with the numbers of this moment; 403 for whoever may not see them.

        Whoever asks is `scope["user"].principal`, which authentication sets: without it the
        answer is 403.
        """
        del receive
        if scope["type"] != "http":
            raise RuntimeError(f"metrics are served over HTTP, and not {scope['type']}")
        if scope["method"] not in {"GET", "HEAD"}:
            await _problem(send, HTTPStatus.METHOD_NOT_ALLOWED, "metrics are read with GET")
        elif not self._open and not _may_see(scope):
            why = "metrics are for operators and auditors of the whole deployment"
            await _problem(send, HTTPStatus.FORBIDDEN, why)
        else:
            accepted = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
            encoder, content_type = choose_encoder(accepted)
            body = encoder(self._registry)
            shown = body if scope["method"] == "GET" else b""
            await _answer(send, HTTPStatus.OK, content_type, shown)


def _may_see(scope: Scope) -> bool:
    principal: object = getattr(scope.get("user"), "principal", None)
    if not isinstance(principal, Principal):
        return False
    return not principal.tenant and bool(principal.roles & _MAY_SEE)


async def _problem(send: Send, status: HTTPStatus, detail: str) -> None:
    said = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    await _answer(send, status, PROBLEM_JSON, json.dumps(said).encode())


async def _answer(send: Send, status: HTTPStatus, content_type: str, body: bytes) -> None:
    headers = [
        (b"content-type", content_type.encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": status.value, "headers": headers})
    await send({"type": "http.response.body", "body": body})
