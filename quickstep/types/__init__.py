"""What everything is made of: segments, views, arrays in time, errors, config fields; knows no file format and no network."""
