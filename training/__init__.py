"""From orders to a registered, imported model. Knows the contract; never imported by the service."""
