"""What the consumer keeps: received instances, and which of its events were sent."""
