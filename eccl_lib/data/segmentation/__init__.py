"""Locate the heart in a short-axis cine: given masks, the U-Net, circle voting, or an ONNX network."""
