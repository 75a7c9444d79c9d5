"""What leaves this machine: exports, merged adapters, release bundles and model cards."""
