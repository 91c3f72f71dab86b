"""What everything is made of: segments, views, arrays in time, errors, config fields; nothing here opens a file or a network."""
