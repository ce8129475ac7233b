"""The example of two replicas plays its story.

R-SCALE-40 (begun on one, approved on the other, one killed, nothing lost or done twice), I17, I40.
R-SCALE-41 (its files are what a service, and Docker, can read).
"""

import os
import re
import subprocess
import sys
from typing import Any, Final, cast

import yaml

from example_files import EXAMPLES
from interlock_adapters.config import load_config
from interlock_adapters.service import Service

FOLDER: Final = EXAMPLES / "two_replicas"
#: More than this is a hang.
RUN_S: Final = 90


def test_the_story_is_played(pg_url: str) -> None:
    """By real processes, one of which is killed.  R-SCALE-40, I17, I40."""
    short = {"STEP_S": "0.4", "HEARTBEAT_S": "0.2", "DEAD_AFTER_S": "3"}
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, str(FOLDER / "run.py")],
        env={**os.environ, "PYTHONPATH": path, "DATABASE_URL": pg_url, **short},
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    began = re.findall(r"offer \d was looked up on ([AB])", done.stdout)
    (approved,) = re.findall(r"approves book .* on ([AB])\n", done.stdout)
    (killed,) = re.findall(r"([AB]) is killed", done.stdout)
    sent = re.findall(r"letter (\d) was sent on ([AB])", done.stdout)
    assert len(began) == 2
    assert approved != began[-1]
    assert [number for number, _ in sent] == [*"123456"]
    assert sent[0][1] == killed
    assert sent[-1][1] != killed
    assert len(re.findall(r"TP1 was booked", done.stdout)) == 1
    assert "the task is completed" in done.stdout
    assert re.search(r"\d+ recover by engine\n", done.stdout)


def test_its_files_can_be_read() -> None:
    """The configuration by a service; what is for Docker names it.  R-SCALE-41."""
    config = load_config(FOLDER / "app.yaml", environ={"DATABASE_URL": "postgresql://db/tasks"})
    before, had = [*sys.path], {*sys.modules}
    try:
        service = Service.of(config)
    finally:
        sys.path[:] = before
        for name in ({*sys.modules} - had) & {"agent"}:
            sys.modules.pop(name)
    assert [*service.engine.tools.policies.rules] == ["book"]
    compose: Any = cast("Any", yaml).safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
    for name in ("replica-a", "replica-b"):
        said = compose["services"][name]
        assert "interlock serve app.yaml" in said["command"]
        environ = {**said["environment"]}
        shown = load_config(FOLDER / "app.yaml", environ=environ)
        assert shown.store.endswith("@db/tasks")
        assert shown.postgres.dead_after_s == 10
        assert shown.server.dangerously_open_to_everyone
