"""From a prompt's ids to new ones: sampling, stopping and streams."""
