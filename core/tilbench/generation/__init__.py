"""Text from a model: completions, chats and sweeps of decoding settings."""
