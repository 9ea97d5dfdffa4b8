"""Jobs: runs that a server queues, starts, watches and stops for their owners.

A job is a run's life; a task is one command of it that waits, runs or has ended. The store holds
who owns what, in which order and as which process; how a run goes is read from its directory.
"""
