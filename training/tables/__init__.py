"""Tables that somebody else fills: their rows as labels, and a use case written for one of them."""
