"""The entity that features belong to."""

from feast import Entity, ValueType

customer = Entity(
    name="customer",
    join_keys=["customer_id"],
    value_type=ValueType.STRING,
    description="One paying customer; ids are strings and keep their leading zeros.",
)
