"""What every plane does after features have been read: on-demand views, the imported model, the outcome of a row.

HTTP, batch and stream call the same code here, so that none of them can differ.
"""
