"""P1: the same as P0 on FastAPI, with default settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Body, FastAPI, Request

from benchmarks.apps.plain_scoring import PlainScoring


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the feature store and the model once."""
    app.state.scoring = PlainScoring()
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/predict")
def predict(request: Request, customer_id: Annotated[str, Body(embed=True)]) -> float:
    """The probability of one customer."""
    scoring: PlainScoring = request.app.state.scoring
    return scoring.score([customer_id])[0]


@app.post("/predict_batch")
def predict_batch(request: Request, customer_ids: Annotated[list[str], Body(embed=True)]) -> list[float]:
    """The probabilities of many."""
    scoring: PlainScoring = request.app.state.scoring
    return scoring.score(customer_ids)
