"""The release that this process runs, so that an answer can be traced to a commit."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bentoml import Bento


@dataclass(frozen=True)
class Release:
    """The release; None where it is not known, as when the service runs from the source tree.

    version, commit: labels that `make build` gave the Bento; `-dirty` at the end marks uncommitted changes.
    bento: its tag.
    image: the tag of the image it runs from.
    """

    version: str | None = None
    commit: str | None = None
    bento: str | None = None
    image: str | None = None

    @classmethod
    def of(cls, bento: "Bento | None", image: str) -> "Release":
        """Read it from the served Bento, if there is one, and the image that the settings name."""
        if bento is None:
            return cls(image=image or None)
        labels = bento.info.labels
        return cls(labels.get("version") or None, labels.get("commit") or None, str(bento.tag), image or None)
