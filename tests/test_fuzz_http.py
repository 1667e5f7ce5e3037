"""Requests drawn from the server's own OpenAPI, right and wrong: no 5xx, every answer as documented.

FEATURESTORE_FUZZ_EACH says how many of each operation: 750 make ten thousand.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from served import Running, running, write_project

EACH = int(os.environ.get("FEATURESTORE_FUZZ_EACH", "100"))
CHOSEN = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(write_project(tmp_path_factory.mktemp("fuzzed")), deadline_s=20.0) as one:
        yield one


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_makes_the_server_fail(fuzzed: Running, mode: GenerationMode) -> None:
    statuses: Counter[int] = Counter()
    for found in schemathesis.openapi.from_url(f"{fuzzed.url}/openapi.json").get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if operation.body or mode is GenerationMode.POSITIVE:  # elsewhere there is nothing to send wrongly
            asking(operation.as_strategy(generation_mode=mode), statuses)()
    assert max(statuses) < 500
    assert len(statuses) > 1


def asking(cases: Any, statuses: Counter[int]) -> Callable[[], None]:
    """A property of one operation: whatever is sent, the answer is a documented one."""

    @settings(max_examples=EACH, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=cases)
    def ask(case: Any) -> None:
        statuses[case.call_and_validate(checks=CHOSEN, timeout=60).status_code] += 1

    return ask
