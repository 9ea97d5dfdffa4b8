"""The tab for a visitor's runs."""
