"""DIMSE: the only bridge between the threads of pynetdicom and the event loop."""
