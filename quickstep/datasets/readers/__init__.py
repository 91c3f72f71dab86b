"""Other people's ways to list labelled videos, one a file; each gives rows or segments and knows nothing of the others."""
