"""Document Registry, one module for each transaction."""
