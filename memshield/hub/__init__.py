"""The Hub: check before, publish, pull, verify."""
