"""Everything after the feature read, for every plane: on-demand views, the imported model, outcomes, metrics.

HTTP, batch and stream call the same code, so they cannot differ.
"""

import scoring.feast.quick_import  # whoever imports a room of ours before Feast has it quick
import scoring.no_telemetry  # noqa: F401  # whoever imports a room of ours before the libraries has them silent
