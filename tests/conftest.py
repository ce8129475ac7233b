"""What all tests have: profiles of Hypothesis, and an interrupt that is heard.

The per-change run is repeatable; `long` searches at random.
"""

import os
import signal
from collections.abc import Generator

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


@pytest.fixture
def interrupts() -> Generator[None]:
    """An interrupt is heard, also where whoever started the tests has it ignored (`... &`)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
