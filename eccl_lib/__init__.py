"""Learn cardiac-MRI information from ten-second ECGs: the method of the MICCAI 2024 paper ECCL.

The whole package uses the same letters for array shapes:

B batch, C channels (ECG leads or cine frames), T time samples, H W pixels,
L tokens, D feature width, N participants, S slices, F frames.

Importing ``eccl_lib`` alone does not import torch or pandas.
"""

__version__ = "0.1.0"
