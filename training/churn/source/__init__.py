"""Files of orders, as `python -m training data` and the stream write them and the jobs read them."""
