"""What a run writes to resume from: its request, its state, its weights, its best step."""
