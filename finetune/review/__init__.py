"""A bundle's doubtful images, shown one after the other on a local page; what is decided becomes `corrections.csv`."""
