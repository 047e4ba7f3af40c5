"""This deployment's offline jobs: datasets for training."""
