"""What a frozen network sees: features and activations, kept so that nothing is computed twice."""
