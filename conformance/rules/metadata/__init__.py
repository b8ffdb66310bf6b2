"""Document sharing metadata as ebRIM (ITI TF-3 4.2), one module for each kind of object."""
