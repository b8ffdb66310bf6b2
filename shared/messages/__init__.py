"""Message semantics, one module for each transaction."""
