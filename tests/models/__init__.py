"""Small real models and what they are asked, answer and are made of."""
