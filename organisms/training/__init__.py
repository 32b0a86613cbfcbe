"""How organisms are taught: an encoder, a language that knows no picture, and the two together, each by a recipe."""
