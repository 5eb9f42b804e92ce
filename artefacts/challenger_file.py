"""The challenger file: the model beside the champion, and what it does. Training writes it, the service reads it."""

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Mode = Literal["shadow", "canary"]
"""`shadow` scores after the answer; `canary` answers a share of the entities."""


class Challenge(BaseModel):
    """Content of the challenger file.

    tag: in the BentoML model store.
    share: of the entities that a canary answers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: str
    mode: Mode
    share: float = Field(default=0.1, ge=0, le=1)

    @classmethod
    def from_text(cls, text: str) -> "Challenge":
        """Read the file's content.

        Raises:
            ValidationError: a member is missing, unknown or wrong.
            ValueError, RecursionError: it is not JSON.
        """
        return cls.model_validate(json.loads(text))

    def to_text(self) -> str:
        """The file's content."""
        return json.dumps(self.model_dump()) + "\n"
