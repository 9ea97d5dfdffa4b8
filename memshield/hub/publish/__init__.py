"""Publishing a run's model and audit on the Hub."""
