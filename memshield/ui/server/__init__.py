"""Where the page runs, who visits it, and the jobs: what all handlers share."""
