"""The use case of how often customers order; it shares the orders and features of the churn use case."""
