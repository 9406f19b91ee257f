"""Where shard tasks run."""
