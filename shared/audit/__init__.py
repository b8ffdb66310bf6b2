"""The audit trail of a service: events, their XML, their durable spool, their way to the repository."""
