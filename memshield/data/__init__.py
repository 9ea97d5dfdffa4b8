"""From a dataset on the Hub or on disk to the batches of a shard."""
