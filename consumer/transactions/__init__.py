"""The initiating side of what a consumer does, one module for each transaction."""
