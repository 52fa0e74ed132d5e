"""Training and scoring a U-Net from the shards; knows nothing of how they were made."""
