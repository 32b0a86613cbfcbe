"""Orthogonality of hierarchical directions, against nulls that it can fail."""
