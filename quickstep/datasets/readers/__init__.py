"""Read lists of labelled videos: one module for each format; a reader returns rows or segments."""
