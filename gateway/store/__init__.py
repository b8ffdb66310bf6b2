"""What the gateway keeps at hand: the links of patients, from their file."""
