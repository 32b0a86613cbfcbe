"""Which stage loses which level: probes, the model's own answers and geometry as one statement a level."""
