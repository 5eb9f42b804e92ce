"""Which labelled rows a model is fitted on, chosen by, and judged by."""
