"""What is searched for: one model for QIDO-RS (PS3.18 10.6) and C-FIND (PS3.4 annex C)."""
