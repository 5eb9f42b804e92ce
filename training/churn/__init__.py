"""The churn use case: its orders, and the labels that follow from them."""
