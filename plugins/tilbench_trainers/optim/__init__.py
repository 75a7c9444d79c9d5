"""What moves the weights: schedules, AdamW and Muon, and the average of the weights."""
