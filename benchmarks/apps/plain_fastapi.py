"""P1: the same as P0 on FastAPI, with default settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request

from benchmarks.apps.plain_scoring import PlainScoring


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the feature store and the model once."""
    app.state.scoring = PlainScoring()
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/predict")
def predict(request: Request, entity_row: Annotated[dict[str, Any], Body(embed=True)]) -> Any:
    """The score of one entity."""
    scoring: PlainScoring = request.app.state.scoring
    return scoring.score([entity_row])[0]


@app.post("/predict_batch")
def predict_batch(request: Request, entity_rows: Annotated[list[dict[str, Any]], Body(embed=True)]) -> list[Any]:
    """The scores of many."""
    scoring: PlainScoring = request.app.state.scoring
    return scoring.score(entity_rows)
