"""What all handlers share: where the page runs, who visits it, the jobs."""
