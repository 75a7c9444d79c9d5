"""What a plugin of each kind must offer: one small protocol a file."""
