"""Jobs: commands that a Hub runs as child processes, with volumes as folders."""
