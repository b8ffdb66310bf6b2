"""The transactions of the imaging source, one file each; `SERVED` are those of SOAP."""

from imaging_source.transactions import rad69

SERVED = (rad69.SERVED,)
