"""Systems that play an actor towards a system that is tested, rightly or wrongly by a script."""
