"""The one place that opens Feast and knows how it stores rows."""
