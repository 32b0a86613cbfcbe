"""The world a model is asked about: trees of names, labelled images, splits, and the scores of a predicted path.

    from taxonomy import Taxonomy, load_images
    from taxonomy.metrics import path_scores

`python -m taxonomy tree FILE` and `python -m taxonomy images DATASET` show what is in a taxonomy and in an image set.
"""

from taxonomy.images import ImageSet
from taxonomy.load import load_images, load_taxonomy
from taxonomy.tree import Taxonomy

__all__ = ["ImageSet", "Taxonomy", "load_images", "load_taxonomy"]
