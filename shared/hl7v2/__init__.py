"""HL7 v2: frames, messages, acknowledgements."""
