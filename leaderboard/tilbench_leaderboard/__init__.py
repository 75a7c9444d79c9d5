"""The leaderboard page: reads records, computes nothing new."""
