"""Configurations: what a file says is what is meant, and every fault has its line.

R-SVC-30, R-SVC-31, R-SVC-32.  T18 (the environment in files), T20 (secrets), T30 (modules).
"""

import json
import re
from pathlib import Path
from typing import Final

import pytest
from pydantic import ValidationError

from interlock import Policy
from interlock.errors import InvalidInput
from interlock_adapters.config import (
    A2AConfig,
    AgentConfig,
    Config,
    FacesConfig,
    GrpcConfig,
    McpSourceConfig,
    ModelConfig,
    ServerConfig,
    load_config,
)

CANARY: Final = "s3cr3t-canary"

AN_AGENT: Final = "a module:name as agent:book, or a definition {model: {id: ...}}"
A_DEFINITION: Final = "{model: {id: gpt-5-mini, api_key_env: OPENAI_API_KEY}, instructions: ...}"

BROKEN: Final = """\
name: Travel ${HOME}
agnt: x
agent:
  model: {provider: ../model.py, api_key_env: "A B"}
  instructons: hi
mcp:
  booking:
    url: ${NOPE}
    headers: {authorization: 5}
    policies:
      book: {confirm: sometimes, allow_edits: true}
      pay:
  both: {url: "ftp://x"}
  none: {}
limits: {running_turns_max: 0}
store: mysql://db/tasks
faces:
  a2a: maybe
  mcp: {path: mcp}
  console: 7
  skills: []
auth:
  tokens:
    - {hash: hunter2, roles: [boss]}
log: {json: true, level: loud}
server: {port: 99999}
policies:
  "*": {confirm: always, timeout_s: -1}
"""

FAULTS: Final = """\
app.yaml:1: name: it is shown to everybody, so nothing of the environment is put into it; \
write it out ($${ for a literal ${)
app.yaml:2: agnt: there is no such setting (did you mean agent?); the settings are: name, \
description, version, server, faces, auth, quotas, telemetry, log, agent, tools, mcp, policies, \
plugins, qualified, agent_tools, lifecycle, limits, store, postgres
app.yaml:4: agent.model.provider: openai, or a module:name that makes a model is accepted
app.yaml:4: agent.model.id: it is missing; a text is accepted
app.yaml:4: agent.model.api_key_env: the name of a variable of the environment, as \
OPENAI_API_KEY is accepted
app.yaml:5: agent.instructons: there is no such setting (did you mean instructions?); the \
settings are: model, instructions, max_steps, on_max_steps, allow_code
app.yaml:8: ${NOPE} is not set; set it, or say ${NOPE:-default}
app.yaml:9: mcp.booking.headers.authorization: a text is accepted (quote it)
app.yaml:11: book: confirm: accepted is never, always, or {when: ...} with a JSON schema that \
the arguments fit if a person must confirm
app.yaml:11: book: allow_edits: there is no such field; the fields are: enabled, confirm, \
required_inputs, prompt, allow_edit, on_deny, on_expire, expires_s, timeout_s, idempotent, \
approvers, by_text, show_errors
app.yaml:12: pay: there is nothing in it; {} is a policy without conditions
app.yaml:13: mcp.both.url: an address as https://shop.example/mcp is accepted
app.yaml:14: mcp.none: one of url and command is accepted
app.yaml:15: limits.running_turns_max: Input should be greater than or equal to 1
app.yaml:16: store: 'memory:', sqlite:///path/to/file.db, postgres://..., postgresql://..., \
restate://... is accepted
app.yaml:18: faces.a2a: true, false or a mapping is accepted
app.yaml:19: faces.mcp.path: a path as /mcp is accepted
app.yaml:20: faces.console: true or false is accepted
app.yaml:21: faces.skills: there is no such setting; the settings are: a2a, mcp, management, \
console
app.yaml:24: auth.tokens.0.hash: the hash of a token is accepted (sha256:...); interlock token \
makes one
app.yaml:24: auth.tokens.0.subject: it is missing; a text is accepted
app.yaml:24: auth.tokens.0.roles.0: Input should be 'approver', 'operator' or 'auditor'
app.yaml:25: log.level: Input should be 'debug', 'info', 'warning' or 'error'
app.yaml:26: server.port: Input should be less than or equal to 65535
app.yaml:28: *: timeout_s: Input should be greater than 0
"""

WHOLE: Final = """\
name: Travel
agent: agent:book
tools: [agent:look]
mcp:
  hotels:
    url: https://u:${KEY}@hotels.example/mcp?key=${KEY}
    headers: {authorization: "Bearer ${KEY}"}
    policies: {book: {confirm: always}}
  files:
    command: [files, --token, "${KEY}"]
    env: {FILES_TOKEN: "${KEY}"}
store: sqlite:///data/tasks.db
server: {port: "${PORT:-9000}", host: "::1"}
faces: {mcp: false, a2a: {grpc: true}}
"""


def load(tmp_path: Path, text: str, **environ: str) -> Config:
    """The configuration in a file of that text."""
    path = tmp_path / "app.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ=environ)


def faults(tmp_path: Path, text: str, **environ: str) -> str:
    """What is wrong with it, without the folder of the test."""
    with pytest.raises(InvalidInput) as caught:
        load(tmp_path, text, **environ)
    return "".join(f"{fault}\n" for fault in caught.value.problems).replace(f"{tmp_path}/", "")


def test_every_fault_is_told_at_once_with_its_line_and_what_would_do(tmp_path: Path) -> None:
    """Also those of policies, and of variables that are not set.  R-SVC-30."""
    assert faults(tmp_path, BROKEN, HOME="/home/ada") == FAULTS


def test_a_fault_never_quotes_a_value(tmp_path: Path) -> None:
    """It may be a secret that stands in the wrong place.  R-SVC-31, T20."""
    text = (
        (
            "agent: agent:a\nlog: {level: ${KEY}}\nserver: {port: ${KEY}, url: '${KEY}'}\n"
            "mcp: {x: {url: '${KEY}', headers: ['${KEY}']}}\nauth: {tokens: [{hash: '${KEY}'}]}\n"
            "store: ${KEY}\nlimits: {ask_s: '${KEY}'}\nfaces: {a2a: '${KEY}'}\n"
        )
        .replace("level: ${KEY}}", "level: '${KEY}'}")
        .replace("port: ${KEY},", "port: '${KEY}',")
    )
    said = faults(tmp_path, text, KEY=CANARY)
    assert said.count("\n") >= 8
    assert CANARY not in said
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"agent": "a:b", "mcp": {"x": {"headers": {"a": [CANARY]}}}})
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "app.yaml: there is nothing in it\n"),
        ("- agent\n", "app.yaml:1: a mapping is accepted, as agent: agent:book\n"),
        (
            "name: x\n",
            f"app.yaml:1: agent: it is missing; {AN_AGENT} is accepted\n",
        ),
        (
            "agent: 7\n",
            f"app.yaml:1: agent: a module:name is accepted, or a definition: {A_DEFINITION}\n",
        ),
        ("agent: agent.py\n", None),
        ("agent: ../agent:book\n", None),
        ("agent: /etc/passwd:x\n", None),
        ("agent: a:b\nagent: a:c\n", "app.yaml:2: 'agent' is there already, in line 1\n"),
        (
            "agent: a:b\npolicies: [x]\n",
            "app.yaml:2: policies: a mapping is accepted\n",
        ),
    ],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str, said: str | None) -> None:
    """Modules are named, never files (T30).  R-SVC-30."""
    found = faults(tmp_path, text)
    assert found == (f"app.yaml:1: agent: {AN_AGENT} is accepted\n" if said is None else said)


def test_the_environment_is_put_in_and_has_a_default(tmp_path: Path) -> None:
    """R-SVC-31, T18."""
    config = load(tmp_path, WHOLE, KEY=CANARY)
    assert config.server.port == 9000
    assert config.mcp["hotels"].headers["authorization"].get_secret_value() == f"Bearer {CANARY}"
    assert load(tmp_path, WHOLE, KEY=CANARY, PORT="8001").server.port == 8001


@pytest.mark.parametrize(
    "line",
    [
        "description: ${KEY}",
        "faces: {a2a: {name: '${KEY}'}}",
        "faces: {a2a: {skills: [{id: x, name: x, description: '${KEY}'}]}}",
        "faces: {mcp: {instructions: '${KEY}'}}",
        "policies: {x: {prompt: '${KEY}'}}",
    ],
)
def test_nothing_of_the_environment_goes_where_everybody_reads_it(
    tmp_path: Path, line: str
) -> None:
    """T18."""
    said = faults(tmp_path, f"agent: a:b\n{line}\n", KEY=CANARY)
    assert "it is shown to everybody" in said
    assert CANARY not in said


def test_of_a_secret_that_is_partly_of_the_environment_only_that_part_is_shown(
    tmp_path: Path,
) -> None:
    """What stands beside it is as secret as it.  R-SVC-31, T20."""
    text = (
        "agent: a:b\nmcp:\n  hotels:\n    url: https://hotels.example/mcp\n"
        f'    headers: {{authorization: "Basic {CANARY}${{ZONE}}", x-key: "${{ZONE:-{CANARY}}}"}}\n'
        f'  cars:\n    command: [cars, "--password={CANARY} --zone=${{ZONE}}"]\n'
    )
    shown = load(tmp_path, text, ZONE="east").shown()
    assert CANARY not in json.dumps(shown)
    for said in (
        '"authorization": "(secret)${ZONE}"',
        '"x-key": "${ZONE}"',
        '["cars", "(secret)${ZONE}"]',
    ):
        assert said in json.dumps(shown)


def test_values_without_an_order_are_shown_as_the_file_has_them(tmp_path: Path) -> None:
    """They stand elsewhere among those that are in effect, where another was hidden.

    R-SVC-31, T20.
    """
    text = (
        "agent: a:b\nfaces:\n  a2a:\n"
        '    tenants: ["${LAST}", acme, beta, "${FIRST}", "${LAST}", acme]\n'
        '    push: {ports: ["${PORT}", 443]}\n'
        "auth:\n  tokens:\n"
        f'    - {{hash: "sha256:{"0" * 64}", subject: ada, roles: [operator, "${{ROLE}}"]}}\n'
    )
    config = load(
        tmp_path, text, LAST=f"z{CANARY}", FIRST=f"a{CANARY}", PORT="8443", ROLE="approver"
    )
    assert config.faces.a2a is not None
    assert f"z{CANARY}" in config.faces.a2a.tenants
    shown = config.shown()
    said = json.dumps(shown)
    assert CANARY not in said
    assert '"tenants": ["${FIRST}", "${LAST}", "acme", "beta"]' in said
    assert '"ports": ["${PORT}", 443]' in said
    assert '"roles": ["${ROLE}", "operator"]' in said


def test_what_is_shown_has_no_secret_and_all_that_is_in_effect(tmp_path: Path) -> None:
    """Neither do what prints it, and what comes from the environment is as the file has it.

    R-SVC-31, T17, T20.
    """
    config = load(tmp_path, WHOLE, KEY=CANARY)
    shown = config.shown()
    text = json.dumps(shown)
    for printed in (text, repr(config), str(config), repr(config.mcp["hotels"])):
        assert CANARY not in printed
    assert shown["mcp"] == {
        "hotels": {
            "url": "https://u:${KEY}@hotels.example/mcp?key=${KEY}",
            "command": None,
            "env": {},
            "headers": {"authorization": "Bearer ${KEY}"},
            "pass_through": [],
            "optional": False,
            "shared": True,
            "era": "auto",
            "retry": RETRY_SHOWN,
            "policies": {"book": config_policy()},
        },
        "files": {
            **FILES_SHOWN,
            "policies": {},
        },
    }
    assert shown["agent"] == "agent:book"
    assert isinstance(shown["server"], dict)
    assert shown["server"]["port"] == "${PORT}"
    assert isinstance(shown["limits"], dict)
    assert shown["limits"]["ask_s"] == 86_400.0


RETRY_SHOWN: Final = {
    "attempts": 5,
    "backoff_first_s": 0.5,
    "backoff_max_s": 30.0,
    "connect_s": 20.0,
    "answer_bytes_max": 67_108_864,
}
FILES_SHOWN: Final = {
    "url": None,
    "command": ["files", "(secret)"],
    "env": {"FILES_TOKEN": "${KEY}"},
    "headers": {},
    "pass_through": [],
    "optional": False,
    "shared": True,
    "era": "auto",
    "retry": RETRY_SHOWN,
}


def config_policy() -> object:
    """What is shown of a policy that must be confirmed."""
    config = Config(agent="a:b", policies={"book": Policy(confirm="always")})
    policies = config.shown()["policies"]
    assert isinstance(policies, dict)
    return policies["book"]


def test_secrets_given_in_code_are_not_shown_either() -> None:
    """There is no file that says it better.  T20."""
    config = Config(
        agent=AgentConfig(model=ModelConfig(id="m", api_base=f"http://u:{CANARY}@h/v1")),
        mcp={
            "a": McpSourceConfig.model_validate(
                {"url": f"https://h/mcp?k={CANARY}", "headers": {"x": CANARY}}
            ),
            "b": McpSourceConfig.model_validate({"command": ["b", CANARY], "env": {"K": CANARY}}),
        },
    )
    assert CANARY not in json.dumps(config.shown())
    assert CANARY not in repr(config)
    assert CANARY not in repr(config.agent)


def test_paths_are_those_of_the_file(tmp_path: Path) -> None:
    """R-SVC-32."""
    config = load(tmp_path, WHOLE, KEY="k")
    assert config.store_url == f"sqlite:///{tmp_path}/data/tasks.db"
    assert Config(agent="a:b", store="memory:").store_url == "memory:"
    elsewhere = Config(agent="a:b", store="sqlite:////var/tasks.db")
    assert elsewhere.store_url == "sqlite:////var/tasks.db"


async def agent(_task: object) -> str:
    """Nothing."""
    return "done"


def test_a_key_that_yaml_takes_for_a_truth_value_is_its_word(tmp_path: Path) -> None:
    """YAML 1.1 reads `on` as true; the project that `interlock init` makes has it.  R-SVC-32."""
    config = load(tmp_path, "agent: agent:book\ntelemetry: {on: true, prometheus: off}\n")
    assert config.telemetry.on
    assert not config.telemetry.prometheus
    assert faults(tmp_path, "agent: agent:book\ntelemetry: {true: true}\n") == (
        "app.yaml:2: a key is a text; quote it\n"
    )


def test_the_same_can_be_said_in_python(tmp_path: Path) -> None:
    """R-SVC-32."""
    text = "agent: a:b\nfaces: {a2a: {name: T}, mcp: false}\nserver: {port: 1}\n"
    faces = FacesConfig(a2a=A2AConfig(name="T"), mcp=None)
    said = Config(agent="a:b", faces=faces, server=ServerConfig(port=1))
    assert load(tmp_path, text).model_dump() == said.model_dump()
    assert Config(agent=agent).shown()["agent"] == f"{__name__}:agent"
    assert Config(agent={"one": agent}).agent == {"one": agent}


@pytest.mark.parametrize(
    "said",
    ["url: 'http://[::1'", "url: http://h:99999", "url: http://h:0", "url: http://h/a?b",
     "url: 'http://h/a#b'", "url: 'http://'", "host: a b", "host: ''"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(said: str, tmp_path: Path) -> None:
    """With its line, and before a face is made that it would break.  Source: R-SVC-30."""
    with pytest.raises(InvalidInput) as caught:
        load(tmp_path, f"agent: agent:a\nserver:\n  {said}\n")
    (problem,) = caught.value.problems
    assert re.search(r"app\.yaml:3: server\.(url|host): an address .*accepted", problem), problem


@pytest.mark.parametrize("path", ["/a b", "/a?b", "/{a}", "/a/{b:nothing}"])
@pytest.mark.parametrize("name", ["a2a.rpc_path", "a2a.rest_path", "mcp.path"])
def test_a_path_that_is_none_is_a_fault_of_the_file(tmp_path: Path, name: str, path: str) -> None:
    """A router would read it otherwise, or not at all.  Source: R-SVC-30."""
    face, _, key = name.partition(".")
    with pytest.raises(InvalidInput) as caught:
        load(tmp_path, f"agent: agent:a\nfaces:\n  {face}: {{{key}: '{path}'}}\n")
    (problem,) = caught.value.problems
    said = rf"app\.yaml:3: faces\.{name}: a path as /\S+ is accepted$"
    assert re.search(said, problem), problem


def test_an_address_is_one_that_clients_can_reach() -> None:
    """What is bound to every address is not called by that."""
    assert ServerConfig().public_url == "http://127.0.0.1:8000"
    assert ServerConfig(host="::1", port=1).public_url == "http://[::1]:1"
    assert ServerConfig(host="[::1]", port=1).public_url == "http://[::1]:1"
    assert ServerConfig(host="0.0.0.0", port=7).public_url == "http://127.0.0.1:7"  # noqa: S104  as said
    assert ServerConfig(url="https://t.example/").public_url == "https://t.example"


@pytest.mark.parametrize(
    ("said", "address", "url"),
    [
        ({}, "127.0.0.1:50051", "127.0.0.1:50051"),
        ({"host": "::1", "port": 7}, "[::1]:7", "[::1]:7"),
        ({"host": "[::1]", "port": 7}, "[::1]:7", "[::1]:7"),
        ({"host": "0.0.0.0", "port": 7}, "0.0.0.0:7", "agent.example:7"),  # noqa: S104  as said
        ({"host": "::", "port": 7}, "[::]:7", "agent.example:7"),
        ({"host": "::", "url": "g.example:443"}, "[::]:50051", "g.example:443"),
    ],
)
def test_a_port_of_grpc_is_bound_and_named_as_clients_can(
    said: dict[str, object], address: str, url: str
) -> None:
    """Nobody connects to every address, and a colon needs brackets.  Source: R-SVC-33."""
    port = GrpcConfig.model_validate(said)
    assert (port.address, port.public_url("https://agent.example/a")) == (address, url)
    assert GrpcConfig(host="::").public_url("http://[fd00::1]:8000") == "[fd00::1]:50051"


@pytest.mark.parametrize(
    ("setting", "given", "said"),
    [
        ("allowed_hosts", "https://a.example", "a name or an address without scheme and port"),
        ("allowed_hosts", "a.example:443", "a name or an address without scheme and port"),
        ("allowed_origins", "a.example", "an origin as https://app.example"),
        ("allowed_origins", "https://a.example/", "an origin as https://app.example"),
    ],
)
def test_a_host_that_no_client_can_name_is_a_fault_of_the_file(
    tmp_path: Path, setting: str, given: str, said: str
) -> None:
    """Told with its line, and not by the face that is made of it.  Source: R-SVC-30."""
    path = tmp_path / "app.yaml"
    path.write_text(f"agent: shop:agent\nserver:\n  {setting}: ['{given}']\n")
    with pytest.raises(InvalidInput) as caught:
        load_config(path)
    [problem] = caught.value.problems
    assert problem.startswith(f"{path}:3: server.{setting}.0: {said}")
