"""The commands, a file for each kind of work: each parses, calls the function of its name and prints; data to stdout, words to stderr."""
