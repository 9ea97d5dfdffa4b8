"""The page: layout and thin handlers; what they do is elsewhere. Imports no torch."""
