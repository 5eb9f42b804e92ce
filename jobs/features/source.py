"""What builds and the stream read, by the name under which the commands know it."""

from pathlib import Path

from training.churn.source.addresses import OrderAddresses

EventSource = OrderAddresses


def event_paths(source: EventSource) -> tuple[Path, Path]:
    """The file of delivered events, and the folder of streamed ones."""
    return source.orders, source.streamed_orders
