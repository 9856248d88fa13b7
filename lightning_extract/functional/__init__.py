"""Pure functions of tensors; imports torch only."""
