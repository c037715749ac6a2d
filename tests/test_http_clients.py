"""As `test_http_errors.py`, for clients that the extra `clients` brings: they are many and large.

A client that isn't installed is skipped, and then so is the table in the documentation.
"""

from __future__ import annotations

import importlib
import os
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from backend import CALLERS, CASES, Backend, Case, serving, verdict_of
from test_http_errors import QUESTION, Judging, assert_predicates, compare_table, patience, shown
from test_http_refusals import NOPE

from pybreaker_ext.http import is_client_error, is_provider_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Without it, importing litellm asks the Internet.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

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
    with serving(Backend()) as running:
        yield running


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], Judging]:
    return {}


def judged(found: dict[Any, Judging], backend: Backend, client: str, case: Case) -> Judging:
    module = module_of(client)
    with warnings.catch_warnings(action="ignore"):
        if (client, case.path) not in found:
            found[client, case.path] = judging = Judging()
            judging.call(CLIENTS[client], module, backend.url(case))
        return found[client, case.path]


def module_of(client: str) -> Any:
    with warnings.catch_warnings(action="ignore"):
        try:
            return importlib.import_module(MODULES[client])
        except ImportError:
            pytest.skip(f"{client} is not installed; {HOW} brings it")


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("case", CASES[1:], ids=lambda case: case.path)
def test_each_error_is_judged(found: dict[Any, Judging], backend: Backend, client: str, case: Case) -> None:
    judging = judged(found, backend, client, case)
    if client == "botocore" and case.path in {"truncates", "malformed"}:
        assert judging.error is None, "botocore now notices half an answer, or what is none"
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


def refuse_genai(genai: Any, key: str | None, url: str) -> None:
    with genai.Client(api_key=key, http_options={"base_url": url, "retry_options": {"attempts": 1}}) as client:
        client.models.generate_content(model="m", contents="?")


def refuse_botocore(boto3: Any, url: str, region: str | None, **secrets: str) -> None:
    boto3.client("bedrock-runtime", region, endpoint_url=url, **secrets).converse(modelId="m", messages=[])


def refuse_litellm(litellm: Any, model: str, url: str, **settings: Any) -> None:
    litellm.completion(model, QUESTION["messages"], api_base=url, max_retries=0, **settings)


SECRETS = {"aws_access_key_id": "k", "aws_secret_access_key": "k"}
REFUSALS: dict[str, tuple[str, Callable[[Any, str], None]]] = {
    "google-genai, scheme": ("google-genai", lambda module, _: refuse_genai(module, "k", NOPE)),
    "google-genai, no key": ("google-genai", lambda module, url: refuse_genai(module, None, url)),
    "mistralai, scheme": ("mistralai", lambda module, _: ask_mistralai(module, NOPE)),
    "cohere, scheme": ("cohere", lambda module, _: ask_cohere(module, NOPE)),
    "cohere, no key": ("cohere", lambda module, url: module.ClientV2(base_url=url)),
    "botocore, no URL": ("botocore", lambda module, _: ask_botocore(module, "x")),
    "botocore, scheme": ("botocore", lambda module, _: ask_botocore(module, NOPE)),
    "botocore, no region": ("botocore", lambda module, url: refuse_botocore(module, url, None, **SECRETS)),
    "botocore, a region that is none": ("botocore", lambda module, url: refuse_botocore(module, url, "a b", **SECRETS)),
    "botocore, no credentials": ("botocore", lambda module, url: refuse_botocore(module, url, "us-east-1")),
    "litellm, scheme": ("litellm", lambda module, _: refuse_litellm(module, "openai/m", NOPE, api_key="k")),
    "litellm, anthropic, scheme": (
        "litellm",
        lambda module, _: refuse_litellm(module, "anthropic/m", NOPE, api_key="k"),
    ),
    "litellm, no key": ("litellm", lambda module, url: refuse_litellm(module, "openai/m", url)),
    "litellm, no provider": ("litellm", lambda module, url: refuse_litellm(module, "m", url)),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_requests_that_are_refused_are_the_callers_mistakes(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    for variable in list(os.environ):
        if variable.startswith(("AWS_", "CO_", "COHERE_")) or variable.endswith(("_API_KEY", "_ADMIN_KEY")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    client, refuse = REFUSALS[name]
    before, judging = backend.asked, Judging()
    assert judging.call(refuse, module_of(client), backend.url(CASES[0])) == CALLERS, repr(judging.error)
    assert (is_client_error(judging.error), is_provider_failure(judging.error)) == (True, False)
    assert backend.asked == before
