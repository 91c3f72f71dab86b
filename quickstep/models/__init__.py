"""What binds a backbone, a view, a head and labels."""
