"""The use case of what customers spend; it shares the orders and features of the churn use case."""
