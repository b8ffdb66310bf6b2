"""Consent documents and resources, translated to policies whole or refused with the reason, never in part."""
