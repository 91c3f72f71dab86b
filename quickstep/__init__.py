"""quickstep names the moves in video, in the words of whoever uses it."""
