"""Members of requests and answers, by the types that the contract gives them."""
