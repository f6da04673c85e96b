"""Encoders, heads and the masked autoencoder."""
