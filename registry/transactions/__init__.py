"""What the registry serves, one file for each transaction."""

from registry.transactions import iti18, iti42

SERVED = (iti18.SERVED, iti42.SERVED)
