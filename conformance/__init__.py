"""An outsider's look at any deployment, ours or a partner's."""
