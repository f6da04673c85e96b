"""Generation of training images and training of the segmentation network."""
