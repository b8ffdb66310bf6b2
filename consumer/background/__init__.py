"""Work beside the requests: studies that are taken over."""
