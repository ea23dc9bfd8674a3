"""Objectives, the training loop, and checkpoints."""
