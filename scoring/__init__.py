"""What every plane does after features have been read: on-demand views, the imported model, the outcome of a row.

HTTP, batch and stream call the same code here, so that none of them can differ.
"""

import scoring.feast.quick_import  # whoever imports a room of ours before Feast has it quick
import scoring.no_telemetry  # noqa: F401  # whoever imports a room of ours before the libraries has them silent
