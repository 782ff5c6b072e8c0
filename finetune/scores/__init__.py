"""Numbers from predictions alone: arrays in, scores with intervals out. It knows nothing of images or networks."""
