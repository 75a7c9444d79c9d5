"""What generating costs: tokens a second, time to the first token, memory."""
