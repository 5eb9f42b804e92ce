"""What `schemathesis run` is told beyond its own checks; tests/e2e/schemathesis.toml names this module."""

import re
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.specs.openapi.checks import positive_data_acceptance

REQUESTS = {"PredictRequest", "PredictBatchRequest", "ExplainRequest", "InvocationsRequest", "FeatureOverrides"}
HEALTH = {"/livez", "/readyz"}
"""BentoML's own paths, which know nothing of requests and models."""
names: list[str] = []


@schemathesis.hook
def before_load_schema(_: HookContext, raw_schema: dict[str, Any]) -> None:
    """Allow no undocumented member in an answer: clients may get new ones, but not behind the document's back."""
    schemas = raw_schema["components"]["schemas"]
    for name in schemas.keys() - REQUESTS:
        if "properties" in schemas[name]:
            schemas[name]["additionalProperties"] = False
    names[:] = schemas["FeatureOverrides"]["properties"]


@st.composite
def csv(draw: st.DrawFn) -> bytes:
    """What the document says of text/csv in words."""
    columns = draw(st.permutations(names))
    row = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=len(names), max_size=len(names))
    rows = draw(st.lists(row, min_size=1, max_size=3))
    return "\n".join([",".join(columns), *(",".join(map(repr, values)) for values in rows)]).encode()


schemathesis.openapi.media_type("text/csv", csv())


@schemathesis.check
def what_fits_the_document_is_accepted(context: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """Schemathesis' own check, but for bodies that a busy machine sent too slowly: nothing was refused then."""
    late = response.status_code == 400 and b"the body did not arrive in time" in response.content
    return None if late else positive_data_acceptance(context, response, case)


@schemathesis.check
def every_answer_is_identified(_: CheckContext, response: Response, case: Case[Any]) -> None:
    """Headers and body name the request, by the client's own id if it can be used, and the model."""
    if case.path in HEALTH:
        return
    (request_id,) = response.headers.get("x-request-id", [""])
    sent = str(response.request.headers.get("X-Request-ID") or "")
    usable = re.fullmatch("[A-Za-z0-9._:/@+=-]{1,128}", sent)
    assert request_id == sent if usable else len(request_id) == 32
    model = {key: response.headers.get(f"x-model-{key}", [""])[0] for key in ("name", "version", "role")}
    assert all(model.values()), model
    if response.request.method == "HEAD" or (case.path in {"/metrics", "/invocations"} and response.status_code == 200):
        return
    body = response.json()
    assert (request_id, model) == (body["request_id"], body["model"])
    if response.status_code != 200:
        assert request_id == body["error"]["request_id"]


@schemathesis.check
def another_method_is_405_and_the_right_ones_are_named(_: CheckContext, response: Response, case: Case[Any]) -> None:
    """Those of the document; whatever answers GET answers HEAD."""
    documented = {method.upper() for method in case.operation.schema[case.path]}
    offered = documented | ({"HEAD"} if "GET" in documented else set())
    if response.request.method not in offered:
        assert response.status_code == 405, response.status_code
        assert offered == set(response.headers.get("allow", [""])[0].split(", "))
    else:
        assert response.status_code != 405
