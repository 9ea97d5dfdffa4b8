"""Uploads of pictures: checked, and stored by owner."""
