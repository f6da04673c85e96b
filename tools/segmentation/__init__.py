"""Making the weights of the segmentation network: generated images and training."""
