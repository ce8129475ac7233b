"""The OpenAPI document of the management API says what is so.  R-SVC-61; T20, T22.

schemathesis makes requests from it, a few for each operation, and sends them to a served one:
some 20 s.
"""

import importlib
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from managed import Served, office

#: Requests for each operation.
EXAMPLES: Final = 12
#: Seconds for one answer.
ANSWER_S: Final = 20
#: Of a library whose types are not complete.
_LIBRARY: Final[Any] = schemathesis
_CONFORMANCE: Final[Any] = importlib.import_module("schemathesis.specs.openapi.checks")
CHECKS: Final[list[Any]] = [
    _LIBRARY.checks.not_a_server_error,
    _CONFORMANCE.status_code_conformance,
    _CONFORMANCE.content_type_conformance,
    _CONFORMANCE.response_schema_conformance,
]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A service with a task of each kind."""
    with Served() as made:
        yield made


def document(url: str) -> dict[str, Any]:
    """The document as a client gets it."""
    answer = httpx.get(f"{url}/manage/openapi.json", timeout=ANSWER_S)
    assert answer.status_code == 200
    said: dict[str, Any] = answer.json()
    return said


def test_requests_made_from_the_document_are_answered_as_it_says(served: Served) -> None:
    """No server error, and no status, media type or body that is not declared.  Source: ours."""
    ids = [served.task(text).task_id for text in ("ask", "authorize", "done", "astray")]
    schema = _LIBRARY.openapi.from_url(f"{served.url}/manage/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 20
    for operation in operations:
        _try(operation, ids)


def _try(operation: Any, ids: list[str]) -> None:  # noqa: ANN401  of a library without types
    @given(case=operation.as_strategy(), task_id=st.sampled_from([None, *ids]))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.filter_too_much,
            HealthCheck.data_too_large,
        ],
    )
    def tried(case: Any, task_id: str | None) -> None:  # noqa: ANN401  as above
        parameters: dict[str, Any] = case.path_parameters or {}
        # A path with a line break is of no route; that is told by what it is mounted in.
        assume(not any("\n" in str(value) for value in parameters.values()))
        # Of a task that goes on, a stream does not end.
        if task_id is not None and "task_id" in parameters:
            parameters["task_id"] = ids[2] if "stream" in case.path else task_id
        response = case.call(timeout=ANSWER_S)
        case.validate_response(response, checks=CHECKS)

    tried()


async def test_the_document_is_whole() -> None:
    """Every operation has an id, a summary, its refusals, and who must say who he is."""
    async with office(config={"key": "hidden"}) as here:
        said = here.app.openapi()
    Draft202012Validator.check_schema({"$defs": said["components"]["schemas"]})
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    ids: list[str] = []
    for path in said["paths"].values():
        for operation in path.values():
            ids.append(operation["operationId"])
            assert operation["summary"]
            assert {"401", "500"} <= operation["responses"].keys()
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert answer["content"] == {"application/problem+json": problem}
    assert len(ids) == len(set(ids))
    assert said["security"] == [{"bearer": []}]
    assert said["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    assert "HTTPValidationError" not in said["components"]["schemas"]
    assert "hidden" not in str(said)
