"""One file for each form that a data set can have; each reads it into a Catalog."""
