"""I3D networks."""
