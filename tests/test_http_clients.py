"""As `test_http_errors.py`, for clients that the extra `clients` brings: they are many and large.

A client that isn't installed is skipped, and then so is the table in the documentation.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from backend import CASES, Backend, Case, running_backend, verdict_of
from test_http_errors import QUESTION, Judging, assert_predicates, compare_table, patience, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


HOW = 'pip install -e ".[dev,clients]"'
#: By the name of the module that must be there.
MODULES = {
    "google-genai": "google.genai",
    "mistralai": "mistralai.client",
    "cohere": "cohere",
    "botocore": "boto3",
    "litellm": "litellm",
}


def ask_genai(genai: Any, url: str) -> None:
    options = {"base_url": url, "timeout": int(patience(url) * 1000), "retry_options": {"attempts": 1}}
    with genai.Client(api_key="k", http_options=options) as client:
        client.models.generate_content(model="m", contents="?")


def ask_mistralai(mistralai: Any, url: str) -> None:
    with mistralai.Mistral(api_key="k", server_url=url, timeout_ms=int(patience(url) * 1000)) as client:
        client.chat.complete(**QUESTION)


def ask_cohere(cohere: Any, url: str) -> None:
    client = cohere.ClientV2("k", base_url=url, timeout=patience(url))
    client.chat(**QUESTION, request_options={"max_retries": 0})


def ask_botocore(boto3: Any, url: str) -> None:
    settings = importlib.import_module("botocore.config").Config(
        connect_timeout=patience(url), read_timeout=patience(url), retries={"total_max_attempts": 1}
    )
    secrets = {"aws_access_key_id": "k", "aws_secret_access_key": "k"}
    client = boto3.client("bedrock-runtime", "us-east-1", endpoint_url=url, config=settings, **secrets)
    try:
        client.converse(modelId="m", messages=[{"role": "user", "content": [{"text": "?"}]}])
    finally:
        client.close()


def ask_litellm(litellm: Any, url: str) -> None:
    litellm.completion(
        "openai/m", QUESTION["messages"], api_base=url, api_key="k", timeout=patience(url), max_retries=0
    )


CLIENTS: dict[str, Callable[[Any, str], None]] = {
    "google-genai": ask_genai,
    "mistralai": ask_mistralai,
    "cohere": ask_cohere,
    "botocore": ask_botocore,
    "litellm": ask_litellm,
}


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with running_backend() as running:
        yield running


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], Judging]:
    return {}


def judged(found: dict[Any, Judging], backend: Backend, client: str, case: Case) -> Judging:
    with warnings.catch_warnings(action="ignore"):
        try:
            module = importlib.import_module(MODULES[client])
        except ImportError:
            pytest.skip(f"{client} is not installed; {HOW} brings it")
        if (client, case.path) not in found:
            found[client, case.path] = judging = Judging()
            judging.call(CLIENTS[client], module, backend.url(case))
        return found[client, case.path]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("case", CASES[1:], ids=lambda case: case.path)
def test_each_error_is_judged(found: dict[Any, Judging], backend: Backend, client: str, case: Case) -> None:
    judging = judged(found, backend, client, case)
    if (client, case.path) == ("botocore", "truncates"):
        assert judging.error is None, "botocore now notices half an answer"
        return
    assert verdict_of(judging.breaker, judging.log) == case.judged, repr(judging.error)
    assert_predicates(judging.error, case)


def test_the_documented_table_is_what_was_found(found: dict[Any, Judging], backend: Backend) -> None:
    """Run with WRITE_TABLES=1 it writes the table."""
    rows = [["the backend answers", "judged to be", *CLIENTS], ["---"] * (2 + len(CLIENTS))]
    for case in CASES[1:]:
        errors = [judged(found, backend, client, case).error for client in CLIENTS]
        rows.append([case.told, case.judged, *map(shown, errors)])
    compare_table("more-clients", rows)
