"""The identity service: who the people of a community are, and tokens and assertions that say so (ITI-71)."""
