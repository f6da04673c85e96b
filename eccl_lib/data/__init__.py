"""From files on disk to arrays that the models read."""
