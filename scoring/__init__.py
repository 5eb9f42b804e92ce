"""Everything after the feature read, for every plane: on-demand views, the imported model, outcomes, metrics.

HTTP, batch and stream call the same code, so they cannot differ.
"""

import scoring.feast.quick_import  # works only before Feast is imported
import scoring.no_telemetry  # noqa: F401  # works only before the libraries are imported
