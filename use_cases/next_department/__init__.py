"""Where a household spends most beside groceries; it uses the features of household_spend."""
