"""Policies as YAML: what is read, what is refused and where, and that it comes back."""

from pathlib import Path
from typing import Final

import pytest

from interlock import JsonObject, Policies, Policy, RequiredInput, When
from interlock.errors import InvalidInput
from interlock_adapters._yaml import read
from interlock_adapters.policies import dump_policies, load_policies

TEXT: Final = """\
booking/search: {}
booking/book:
  confirm: always
  allow_edit: true
  approvers: [ada]
payments/pay:
  confirm:
    when: {properties: {euro: {minimum: 100}}, required: [euro]}
  required_inputs:
    - {name: iban, description: "Which account?", schema: {type: string}}
    - {name: note, default: null, argument: memo}
  timeout_s: 30
"*": {confirm: never, prompt: "costs $${PRICE}"}
"""
LARGE: Final[JsonObject] = {"properties": {"euro": {"minimum": 100}}, "required": ["euro"]}
IBAN: Final = RequiredInput(name="iban", schema={"type": "string"}, description="Which account?")
RULES: Final = {
    "booking/search": Policy(),
    "booking/book": Policy(confirm="always", allow_edit=True, approvers=("ada",)),
    "payments/pay": Policy(
        confirm=When(when=LARGE),
        required_inputs=(IBAN, RequiredInput(name="note", default=None, argument="memo")),
        timeout_s=30,
    ),
    "*": Policy(confirm="never", prompt="costs ${PRICE}"),
}


def problems_of(text: str) -> tuple[str, ...]:
    """What is wrong with a text."""
    with pytest.raises(InvalidInput) as caught:
        load_policies(text)
    return caught.value.problems


def filed(folder: Path, text: str) -> Path:
    """A file with that text."""
    path = folder / "policies.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_policies_are_read_as_they_are_written() -> None:
    """Also what was left out is as the model has it.  Source: R-GATE-12."""
    loaded = load_policies(TEXT).rules
    assert dict(loaded) == RULES
    note = loaded["payments/pay"].required_inputs[1]
    assert note.has_default
    assert not loaded["payments/pay"].required_inputs[0].has_default


def test_what_is_written_down_is_read_back(tmp_path: Path) -> None:
    """As a text and as a file, and a literal ${ stays one."""
    written = dump_policies(Policies(RULES))
    assert dict(load_policies(written).rules) == RULES
    assert dict(load_policies(filed(tmp_path, written), environ={}).rules) == RULES


def test_code_cannot_be_written_down() -> None:
    """A predicate would come back as something else."""

    def is_large(_arguments: JsonObject) -> bool:
        return True

    with pytest.raises(InvalidInput, match=r"^a: its confirm is a function"):
        dump_policies(Policies({"a": Policy(confirm=is_large), "b": Policy()}))


FIELDS: Final = "the fields are: enabled, confirm, required_inputs"
WRONG: Final = {
    "a:\n  confirm: yes": ("policies:2: a: confirm: accepted is never, always, or {when: ...}",),
    "a:\n  confirm: {predicate: f}": ("policies:2: a: confirm: accepted is never",),
    "a:\n  confirm: {when: {typ: 1}}": (
        "policies:2: a: confirm: schema at #: keyword 'typ' is not supported; accepted is",
    ),
    "a:\n\n  colour: red\n  timeout_s: 0": (
        "policies:4: a: timeout_s: Input should be greater than 0",
        f"policies:3: a: colour: there is no such field; {FIELDS}",
    ),
    "a:\n  required_inputs:\n  - {nme: x}": (
        "policies:3: a: required_inputs.0.name: Field required",
        "policies:3: a: required_inputs.0.nme: there is no such field; the fields are: name, sch",
    ),
    "a: {approvers: ['']}": ("policies:1: a: an approver has a name",),
    "a:": ("policies:1: a: there is nothing in it; {} is",),
    "a: always": ("policies:1: a: a policy is a mapping: enabled, confirm",),
    "/a: {}": ("policies:1: rule '/a'; 'source/tool', 'tool', 'source/*' or '*' is one",),
    "- a": ("policies:1: a mapping of rules to policies is accepted, as booking/book:",),
    "some/policies.yaml": ("policies:1: a mapping of rules to policies is accepted",),
    "": ("policies: there is nothing in it",),
    "a: {}\nb: {}\na: {}": ("policies:3: 'a' is there already, in line 1",),
    "a: {enabled: true, enabled: false}": ("policies:1: 'enabled' is there already, in line 1",),
    "a: [": ("policies:1: while parsing a flow node",),
    "\n*: {}": ("policies:2: while scanning an alias",),
    "a: {}\n---\nb: {}": ("policies:2: expected a single document",),
    "a: \x07": ("policies: a character that YAML does not allow",),
    "1: {}\n? [b]\n: {}": (
        "policies:1: a key is a text; quote it",
        "policies:2: a key is a text; quote it",
    ),
    "a: {prompt: 2026-01-01}": ("policies:1: a timestamp is no JSON; quote it",),
    "a: {enabled: !!bool maybe}": ("policies:1: it is no bool",),
    "a: {timeout_s: .inf}": ("policies:1: infinity and NaN are no JSON",),
    "a: !!python/object:os.system {}": ("policies:1: a tag has no meaning here",),
    "a: &a {confirm: *a}": ("policies: nested deeper than 100 levels",),
    "a: " + "[" * 5_000: ("policies: nested deeper than 100 levels",),
    "a: {<<: 7}": ("policies:1: while constructing a mapping, expected a mapping",),
    "a: {prompt: <<}": ("policies:1: a merge is no JSON; quote it",),
    "a: {prompt: '${HOME}'}": ("policies:1: ${...} is for files; a literal one is",),
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: repr(text[:40]))
def test_what_is_wrong_is_told_with_its_line(text: str) -> None:
    """And with what would be accepted; everything at once.  Source: R-GATE-12."""
    problems = problems_of(text)
    assert len(problems) == len(WRONG[text])
    for problem, wanted in zip(problems, WRONG[text], strict=True):
        assert problem.startswith(wanted)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("some/policies.yaml", "a file is given as a Path"),
        ("*: {}", 'a name that begins with * is quoted: "*"'),
        ("a: {timeout_s: ${T}}", "within braces and brackets a ${NAME} is quoted"),
    ],
)
def test_a_mistake_that_many_make_is_told_how_to_mend(text: str, hint: str) -> None:
    """YAML's own words for it help nobody."""
    assert hint in problems_of(text)[0]


def test_a_merge_saves_writing() -> None:
    """What is written beside it wins."""
    rules = load_policies("a: &a {confirm: always, by_text: true}\nb: {<<: *a, by_text: false}")
    assert rules.rules["b"] == Policy(confirm="always", by_text=False)


@pytest.mark.parametrize("again", ["[{0}, {0}]", "{{a: {0}, b: {0}}}", "{{<<: [{0}, {0}]}}"])
def test_a_text_that_says_the_same_over_and_over_has_an_end(again: str) -> None:
    """Forty doublings would be a million million values.  Source: R-GATE-12, T17."""
    lines = ["a0: &a0 {confirm: always}"]
    lines += [f"a{n + 1}: &a{n + 1} {again.format(f'*a{n}')}" for n in range(40)]
    read("\n".join(lines[:3]), "policies", None)
    if again.startswith("{{<<"):
        assert read("\n".join(lines), "policies", None).value == {
            f"a{n}": {"confirm": "always"} for n in range(41)
        }
    else:
        with pytest.raises(InvalidInput, match="values or fewer are accepted"):
            read("\n".join(lines), "policies", None)


def test_a_file_is_expanded_from_the_environment(tmp_path: Path) -> None:
    """An unquoted value is read again, a quoted one stays text; empty is as a shell has it."""
    path = filed(
        tmp_path,
        "a:\n  timeout_s: ${TIME}\n  expires_s: ${NONE:-60}\n  by_text: ${YES:-true}\n"
        '  prompt: "${WHO}/${EMPTY:-else}/${EMPTY}${TIME}"\n',
    )
    environ = {"TIME": "30", "WHO": "{confirm: never}", "EMPTY": ""}
    loaded = load_policies(path, environ=environ).rules["a"]
    assert (loaded.timeout_s, loaded.expires_s, loaded.by_text) == (30.0, 60.0, True)
    assert loaded.prompt == "{confirm: never}/else/30"


def test_the_environment_is_the_process_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless another is given."""
    monkeypatch.setenv("INTERLOCK_TESTS_PROMPT", "Sure?")
    path = filed(tmp_path, "a: {prompt: '${INTERLOCK_TESTS_PROMPT}'}")
    assert load_policies(path).rules["a"].prompt == "Sure?"


CANARY: Final = "hunter2-canary"


def test_what_comes_from_the_environment_makes_no_structure_and_is_not_quoted(
    tmp_path: Path,
) -> None:
    """A value is one scalar, whatever is in it, and may be a secret.  Source: R-GATE-12, T18."""
    path = filed(tmp_path, "a:\n  confirm: ${C}\n  timeout_s: ${T}\n  ${C}: 1\n")
    environ = {"C": "{when: {}}", "T": CANARY}
    with pytest.raises(InvalidInput) as caught:
        load_policies(path, environ=environ)
    assert [problem.partition(".yaml:")[2][:2] for problem in caught.value.problems] == [
        "2:",
        "3:",
        "4:",
    ]
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a:\n  prompt: ${GONE}", ":2: ${GONE} is not set; set it, or say ${GONE:-default}"),
        ("a:\n  prompt: ${}", ":2: ${ begins no reference: ${NAME} and ${NAME:-default}"),
        ("a:\n  prompt: ${A-B}", ":2: ${ begins no reference"),
    ],
)
def test_a_reference_to_nothing_is_an_error(tmp_path: Path, text: str, problem: str) -> None:
    """An empty text in place of a forgotten variable would switch something off unseen."""
    with pytest.raises(InvalidInput) as caught:
        load_policies(filed(tmp_path, text), environ={})
    assert problem in str(caught.value)


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    """Missing, and of another encoding."""
    with pytest.raises(FileNotFoundError):
        load_policies(tmp_path / "none.yaml")
    path = tmp_path / "latin.yaml"
    path.write_bytes("a: {prompt: é}".encode("latin-1"))
    with pytest.raises(InvalidInput, match="not written in UTF-8"):
        load_policies(path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("book:\n  approvers: ada\n", "policies:2: book: approvers: a list is accepted, as [ada]"),
        (
            "book:\n  required_inputs: [iban]\n",
            "policies:2: book: required_inputs.0: a mapping is accepted, as {name: seat}",
        ),
    ],
)
def test_what_is_wrong_is_told_in_the_words_of_yaml(text: str, wanted: str) -> None:
    """Whoever writes it need not know Python.  Source: review of issue 4."""
    with pytest.raises(InvalidInput) as refused:
        load_policies(text)
    assert refused.value.problems == (wanted,)
