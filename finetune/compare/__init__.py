"""Finished bundles beside each other: what differs on the same test images, and by how much more than chance."""
