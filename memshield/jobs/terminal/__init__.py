"""Commands for trainings on Jobs: submit, runs, follow, stop, resume, fetch."""
