"""X-Service Provider (ITI-40), at any SOAP endpoint: which assertions it accepts, and which it must not."""
