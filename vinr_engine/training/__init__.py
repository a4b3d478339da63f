"""Training: data, losses, the loop and its checkpoints. docs/network.md says what the published recipe is."""
