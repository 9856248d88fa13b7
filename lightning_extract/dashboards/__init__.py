"""Live views on Weights & Biases; nothing here is loaded into a run whose config names none."""
