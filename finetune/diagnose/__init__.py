"""Evidence for the report and for checks of an exported model, written into the bundle while the images are at hand."""
