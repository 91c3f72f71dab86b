"""Changed copies of training windows."""
