"""From bytes to batches: finding examples, decoding, the store of pixels, the split, augmentation."""
