"""The audit: how much of its training set a generative model gives back."""
