"""Which pictures show the same: features, geometry, likeness, and the search built on them."""
