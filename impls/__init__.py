"""The implementations that are compared, and the contract that they meet."""
