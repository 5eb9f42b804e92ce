"""Clients as people have them, as they come: each asks for a hundred customers and gets each one's own prediction."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import httpx
import pyarrow.parquet as pq
import pytest
import requests

from tests.loop import Loop

PROGRAMS = Path(__file__).parent / "client_programs"
ASKED = 100


class Answered(NamedTuple):
    customer_id: str
    status: int
    body: str


def needs(program: str) -> pytest.MarkDecorator:
    absent = shutil.which(program) is None and os.environ.get("CI") != "true"
    return pytest.mark.skipif(absent, reason=f"{program} is not installed")


@pytest.fixture(scope="module")
def expected(loop: Loop) -> dict[str, Any]:
    """A hundred customers and what they are answered in one batch."""
    ids = pq.read_table(loop.root / "var" / "data" / "orders.parquet", columns=["customer_id"])["customer_id"].unique()
    customers = ids.to_pylist()[:: len(ids) // ASKED][:ASKED]
    answer = loop.call("POST", "/predict_batch", {"customer_ids": customers})
    assert 200 == answer.status
    by_id = {row["customer_id"]: row for row in answer.body["predictions"]}
    assert ASKED == len(by_id)
    assert len({row["churn_probability"] for row in by_id.values()}) > ASKED / 2, "a stranger's answer would be seen"
    return by_id


def check(answers: Sequence[Answered], expected: dict[str, Any]) -> None:
    assert list(expected) == [answer.customer_id for answer in answers]
    assert {200} == {answer.status for answer in answers}, next(a for a in answers if a.status != 200)
    for answer in answers:
        body, right = json.loads(answer.body), expected[answer.customer_id]
        assert answer.customer_id == body["customer_id"]
        # The request's time is part of the features, so seconds later the probability differs in late decimals.
        assert right["churn_probability"] == pytest.approx(body["churn_probability"], abs=1e-3)
        assert (right["status"], right["churn"]) == (body["status"], body["churn"])


def printed(*command: str) -> list[Answered]:
    """What a program prints: customer, status and body, between tabs."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert 0 == done.returncode, done.stdout[-2000:] + done.stderr[-2000:]
    lines = [line.split("\t", 2) for line in done.stdout.splitlines()]
    return [Answered(customer, int(status), body) for customer, status, body in lines]


def customers_file(folder: Path, expected: dict[str, Any]) -> str:
    file = folder / "customers"
    file.write_text("".join(f"{customer}\n" for customer in expected))
    return str(file)


@needs("java")
def test_javas_own_client(loop: Loop, expected: dict[str, Any], tmp_path: Path) -> None:
    """By default it offers h2c with the first request of a connection, body and all."""
    check(printed("java", str(PROGRAMS / "Predict.java"), loop.url, customers_file(tmp_path, expected)), expected)


@needs("node")
def test_nodes_fetch(loop: Loop, expected: dict[str, Any], tmp_path: Path) -> None:
    check(printed("node", str(PROGRAMS / "predict.mjs"), loop.url, customers_file(tmp_path, expected)), expected)


@needs("curl")
@pytest.mark.parametrize("version", ["--http2", "--http1.1", "--http1.0"])
def test_curl(loop: Loop, expected: dict[str, Any], tmp_path: Path, version: str) -> None:
    """One process, and so one connection where the protocol keeps it."""
    asked = [
        f'url = "{loop.url}/predict"\nheader = "Content-Type: application/json"\n'
        f'data = "{{\\"customer_id\\": \\"{customer}\\"}}"\n{version.lstrip("-")}\nsilent\n'
        f'output = "{tmp_path}/{number}"\nwrite-out = "{customer}\\t%{{http_code}}\\t{number}\\n"\n'
        for number, customer in enumerate(expected)
    ]
    (tmp_path / "config").write_text("next\n".join(asked))

    said = printed("curl", "--noproxy", "*", "--config", str(tmp_path / "config"))

    check([answer._replace(body=(tmp_path / answer.body).read_text()) for answer in said], expected)


def with_requests(url: str, customers: Sequence[str]) -> list[Answered]:
    with requests.Session() as session:
        answers = [session.post(url, json={"customer_id": each}, timeout=30) for each in customers]
    return [Answered(each, answer.status_code, answer.text) for each, answer in zip(customers, answers, strict=True)]


def with_httpx(url: str, customers: Sequence[str]) -> list[Answered]:
    async def ask(client: httpx.AsyncClient, customer: str) -> Answered:
        answer = await client.post(url, json={"customer_id": customer})
        return Answered(customer, answer.status_code, answer.text)

    async def all_of_them() -> list[Answered]:
        async with httpx.AsyncClient(timeout=30) as client:
            return list(await asyncio.gather(*(ask(client, each) for each in customers)))

    return asyncio.run(all_of_them())


def with_aiohttp(url: str, customers: Sequence[str]) -> list[Answered]:
    async def ask(session: aiohttp.ClientSession, customer: str) -> Answered:
        async with session.post(url, json={"customer_id": customer}) as answer:
            return Answered(customer, answer.status, await answer.text())

    async def all_of_them() -> list[Answered]:
        async with aiohttp.ClientSession() as session:
            return list(await asyncio.gather(*(ask(session, each) for each in customers)))

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("ask", [with_requests, with_httpx, with_aiohttp])
def test_pythons_clients(
    loop: Loop, expected: dict[str, Any], ask: Callable[[str, Sequence[str]], list[Answered]]
) -> None:
    check(ask(f"{loop.url}/predict", list(expected)), expected)
