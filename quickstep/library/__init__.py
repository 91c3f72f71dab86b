"""The library: windows of many videos on disk, found by words, by example, by name or by what is known of them."""
