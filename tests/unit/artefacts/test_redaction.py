"""No password of an address is in anything that is printed or logged."""

import sys

import pytest

from artefacts.addresses import Artefacts
from artefacts.process.printable import printable_output
from artefacts.process.redaction import redacted, secrets_in

SAID = [
    ("postgresql://churn:s3cret@db:5432/mlflow", "postgresql://***@db:5432/mlflow"),
    (
        "postgresql+psycopg2://churn:s3cret@db/mlflow?sslmode=require",
        "postgresql+psycopg2://***@db/mlflow?sslmode=require",
    ),
    ("https://s3cret@mlflow", "https://***@mlflow"),
    ("rediss+sentinel://:s3cret@a:1,b:2/main", "rediss+sentinel://***@a:1,b:2/main"),
    ("http://churn:s3%20cret@proxy:3128", "http://***@proxy:3128"),
    ("https://mlflow/api?token=s3cret&x=1", "https://mlflow/api?token=***&x=1"),
    ("mssql:///?odbc_connect=x&password=s3cret", "mssql:///?odbc_connect=x&password=***"),
    ('redis:6379,db=0,password="s3cret, more",ssl=true', "redis:6379,db=0,password=***,ssl=true"),
    ("cannot reach http://a:s3cret@b, nor (http://c:s3cret@d)", "cannot reach http://***@b, nor (http://***@d)"),
    ("sqlite:////srv/it's [1]/mlflow.db", "sqlite:////srv/it's [1]/mlflow.db"),
    ("ops@example.org wrote to http://mlflow:5000/@me", "ops@example.org wrote to http://mlflow:5000/@me"),
    ("customer 00042: churn=0.5", "customer 00042: churn=0.5"),
]


@pytest.mark.parametrize(("text", "shown"), SAID, ids=[text for text, _ in SAID])
def test_an_address_is_shown_without_user_and_password(text: str, shown: str) -> None:
    assert shown == redacted(text, [])


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "REDIS_URL", "FEAST_REGISTRY", "https_proxy"])
@pytest.mark.parametrize("password", ["s3cret/with@all?of#it", "two words", "s3%40cret", "pässword"])
def test_a_password_of_the_environment_is_hidden_however_a_library_repeats_it(variable: str, password: str) -> None:
    secrets = secrets_in({variable: f"postgresql://churn:{password}@db/mlflow"})

    for said in (f"no route to postgresql://churn:{password}@db/mlflow", f"user churn, password {password}: denied"):
        assert password not in redacted(said, secrets)
    assert "s3@cret" not in redacted("denied: s3@cret", secrets_in({variable: "postgresql://churn:s3%40cret@db"}))


@pytest.mark.parametrize("user", ["u", "", ":", "u:p"])
def test_what_is_too_short_to_be_told_from_words_is_hidden_in_its_address_alone(user: str) -> None:
    secrets = secrets_in({"HTTP_PROXY": f"http://{user}@proxy:3128"})

    assert "the customer's rows: 2" == redacted("the customer's rows: 2", secrets)
    assert "by http://***@proxy:3128" == redacted(f"by http://{user}@proxy:3128", secrets)


def test_commands_print_no_password(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://churn:pl4in text@mlflow:5000")

    with printable_output():
        print("http://churn:pl4in text@mlflow:5000")
        print("http://other:s3cret@x failed, so did pl4in text", file=sys.stderr)

    told = capsys.readouterr()
    assert "http://***@mlflow:5000\n" == told.out
    assert "http://***@x failed, so did ***\n" == told.err


def test_artefacts_are_shown_without_their_addresses() -> None:
    artefacts = Artefacts.of(
        {name: "redis://u:s3cret@h" for name in ("REDIS_URL", "FEAST_REGISTRY", "MLFLOW_TRACKING_URI")}
    )

    assert "s3cret" not in repr(artefacts) + str(artefacts)
