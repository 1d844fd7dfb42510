"""What came out: estimates from samples, notes on trust, and the files that hold them."""
