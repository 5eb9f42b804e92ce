"""Orders, labels and the point-in-time join: what a model is trained on."""
