"""Scores the customers of new orders as the orders arrive."""
