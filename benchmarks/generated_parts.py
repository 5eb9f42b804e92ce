"""Parts of hand-written pages that are written from what was measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artefacts.addresses import PROJECT_ROOT


@dataclass(frozen=True)
class GeneratedPart:
    """What stands between two markers of a page.

    page: file in docs/.
    name: in the markers.
    content: Markdown.
    by: the command that writes it.
    """

    page: Path
    name: str
    content: str
    by: str = "python -m benchmarks report"

    @property
    def begin(self) -> str:
        """The marker before it."""
        return f"<!-- {self.name}: written by `{self.by}` -->"

    @property
    def end(self) -> str:
        """The marker after it."""
        return f"<!-- {self.name}: end -->"

    def put_into(self, text: str) -> str:
        """The text of a page with this part as it should be.

        Raises:
            ValueError: the text lacks a marker.
        """
        before, first, rest = text.partition(self.begin)
        _, last, after = rest.partition(self.end)
        if not first or not last:
            raise ValueError(f"{self.page} lacks the markers {self.begin} and {self.end}")
        return f"{before}{self.begin}\n{self.content}\n{self.end}{after}"

    def write(self) -> None:
        """Bring the page up to date.

        Raises:
            ValueError: the page lacks a marker.
        """
        text = self.put_into(self.page.read_text(encoding="utf-8"))
        self.page.write_text(text, encoding="utf-8")


def generated_parts(document: Mapping[str, Any]) -> list[GeneratedPart]:
    """Every part, from all sections of the results; the simulations are imported, which takes seconds."""
    from benchmarks.jobs.scale import scale_figures
    from benchmarks.online import answer_log
    from benchmarks.online.capacity_guide import capacity_guide
    from benchmarks.simulations import drift_power, drift_year, gate_power, hours, use_cases

    docs, measured = PROJECT_ROOT / "docs", document.get
    of_households = use_cases.section(measured(use_cases.HOUSEHOLDS), " --households")
    return [
        GeneratedPart(docs / "monitoring.md", "drift", drift_power.section(measured("drift"))),
        GeneratedPart(docs / "monitoring.md", "year", drift_year.section(measured("drift_year"))),
        GeneratedPart(docs / "model.md", "hours", hours.section(measured("hours"))),
        GeneratedPart(docs / "model.md", "use cases", use_cases.section(measured("use_cases"))),
        GeneratedPart(docs / "model.md", "households", of_households),
        GeneratedPart(docs / "promotion.md", "gate", gate_power.section(measured("gate"))),
        GeneratedPart(docs / "inference-log.md", "log", answer_log.section(measured("answer_log"))),
        GeneratedPart(docs / "scale.md", "figures", scale_figures(measured("jobs"))),
        GeneratedPart(docs / "operations" / "capacity.md", "capacity", capacity_guide(document)),
    ]
