"""What all tests have: profiles of Hypothesis, and an interrupt that is heard.

The per-change run is repeatable; `long` searches at random.
"""

import os
import signal
from collections.abc import Generator, Mapping
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings

#: A file system under load must not decide a test, so examples have no deadline of their own.
settings.register_profile("default", derandomize=True, deadline=None)
settings.register_profile(
    "long",
    max_examples=2_500,
    stateful_step_count=80,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# `--hypothesis-profile=long` does the same, later, and wins.
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """What a test said, on its way from the process that ran it: half an emoji could not go."""
    return _sendable((yield))


def _sendable(value: object) -> object:
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case list() | tuple():
            within = cast("list[object] | tuple[object, ...]", value)
            return type(within)(map(_sendable, within))
        case Mapping():
            named = cast("Mapping[object, object]", value)
            return {_sendable(name): _sendable(one) for name, one in named.items()}
        case _:
            return value


@pytest.fixture
def interrupts() -> Generator[None]:
    """An interrupt is heard, also where whoever started the tests has it ignored (`... &`)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
