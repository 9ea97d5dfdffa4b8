"""The tab of the visitor's runs."""
