"""The project, and the entity that its features belong to."""

from feast import Entity, Project, ValueType

OWNER = "customer-analytics@example.com"

churn = Project(
    name="churn",
    description="What a shop knows of its customers from their orders.",
    tags={"domain": "orders"},
    owner=OWNER,
)

customer = Entity(
    name="customer",
    join_keys=["customer_id"],
    value_type=ValueType.STRING,
    description="One paying customer; ids are strings and keep their leading zeros.",
    owner=OWNER,
)
