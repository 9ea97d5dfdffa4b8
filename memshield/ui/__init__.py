"""The page: a folder for each tab, with its handlers and views. Imports no torch."""
