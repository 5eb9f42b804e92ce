"""The Bento service: a customer id in, a prediction out. Knows the contract and no other room."""
