"""The tab for a new training: what to train, with which pictures, how, and what will happen."""
