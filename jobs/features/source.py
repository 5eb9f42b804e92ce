"""What builds and the stream read, by the name under which the commands know it."""

from training.churn.source.addresses import OrderAddresses

EventSource = OrderAddresses
