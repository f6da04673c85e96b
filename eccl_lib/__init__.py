"""What a heart MRI knows from a ten-second ECG: the method of the MICCAI 2024 paper ECCL.

Shapes are written in one alphabet throughout the package:

B batch, C channels (ECG leads or cine frames), T time samples, H W pixels,
L tokens, D feature width, N participants, S slices, F frames.

Importing ``eccl_lib`` imports nothing heavy: no torch, no pandas.
"""

__version__ = "0.1.0"
