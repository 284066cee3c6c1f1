"""Trained networks: evaluating them on a data set, predicting images with them."""
