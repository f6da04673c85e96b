"""What all transformer encoders here are stacks of."""

from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.vision_transformer import Block

BLOCKS = (Block, SwinTransformerBlock)
