"""Orders to feature rows: builds of the offline store."""
