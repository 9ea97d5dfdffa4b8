"""What a training would do, take and cost, before it is started."""
