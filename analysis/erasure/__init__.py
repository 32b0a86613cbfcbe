"""Erase a level at a site: what its probe, the other levels, and the model itself still know."""
