"""What this process runs, so that an answer can be traced to the commit that gave it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bentoml import Bento


@dataclass(frozen=True)
class Release:
    """None is what cannot be known: all of it, where the service runs from the source tree.

    version, commit: labels that `make build` gave the Bento; a commit with changes of its own ends in `-dirty`.
    bento: its tag.
    image: the tag of the image it runs from.
    """

    version: str | None = None
    commit: str | None = None
    bento: str | None = None
    image: str | None = None

    @classmethod
    def of(cls, bento: "Bento | None", image: str) -> "Release":
        """Of the Bento that is served, if one is, and the image that the settings name."""
        if bento is None:
            return cls(image=image or None)
        labels = bento.info.labels
        return cls(labels.get("version") or None, labels.get("commit") or None, str(bento.tag), image or None)
