"""Use cases that are shipped beside churn."""
