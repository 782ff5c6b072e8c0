"""What there is to learn from: images that exist, their labels, their pixels, and which train or test."""
