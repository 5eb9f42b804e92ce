"""Stream scoring: scores the customers of new orders as the orders arrive."""
