"""XCA gateways: the same transactions across communities."""
