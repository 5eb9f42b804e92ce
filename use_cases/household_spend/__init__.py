"""What households spend at a grocer, from The Complete Journey: int64 keys, categories and nulls."""
